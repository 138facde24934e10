// The judgement of the drivers "tlb" and "l2-tlb". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/wire/tlb.hpp"

namespace nestbed::stress {

// A line for each vCPU that read a stale value, read none, or did not come to its end. `generations` is how
// many shootdowns were completed.
[[nodiscard]] std::vector<std::string> judge_tlb(std::span<const wire::tlb::Counts> counts,
                                                 std::uint64_t generations);

} // namespace nestbed::stress
