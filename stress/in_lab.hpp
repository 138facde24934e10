// A check of this suite in an emulated machine.
#pragma once

#include <cstdint>

#include "core/supervise/supervisor.hpp"
#include "report/run_result.hpp"

namespace nestbed::stress {

struct LabCheck {
    std::uint32_t vcpus = 1; // of the guest; at most most_vcpus_in_lab of them run there
    std::uint64_t seed = 1;
};

// What an emulated machine brings up, and runs L2 guests on, in well under a minute.
inline constexpr std::uint32_t most_vcpus_in_lab = 64;

// Fills in verdict, summary, details, reason and the command that repeats it, by `result.name`. Where there
// is no lab, or the emulated host does not live through it, the check is skipped, and says why: that is no
// fault of the host that is validated.
void check_in_lab(report::CheckResult& result, const LabCheck& check, supervise::Supervisor& supervisor);

} // namespace nestbed::stress
