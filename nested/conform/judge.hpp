// From what a test left in guest memory to a verdict: a function of values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "nested/conform/catalog.hpp"
#include "nested/wire/conform.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

// How the machine came through it.
struct Outcome {
    std::optional<Error> error;              // what ended the job before its end
    std::optional<std::uint32_t> fatal_exit; // KVM_EXIT_* that a vCPU died of
    bool stopped = false;                    // by the host, as Ending::stopped wants it
    std::vector<std::string> diagnosis;      // of the vCPUs, where it died or hung
};

// `reports` are copies, one per vCPU; nothing in them is trusted. Name, title, reference, verdict, summary,
// details, reason and facts of the result are filled in.
[[nodiscard]] report::CheckResult judge(const Case& test, const Outcome& outcome,
                                        std::span<const nested::wire::Report> reports);

} // namespace nestbed::conform
