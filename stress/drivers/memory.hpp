// The judgement of the drivers "memory" and "fault". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/wire/memory_load.hpp"

namespace nestbed::stress {

// A line for each vCPU that did not find what it had written. `results` has two for each vCPU, `parts` says
// which of them there are.
[[nodiscard]] std::vector<std::string> judge_memory(std::span<const wire::memory_load::Result> results,
                                                    std::span<const wire::memory_load::Part> parts);

// What the host found in the pages that a vCPU touched.
struct TouchSeen {
    std::uint64_t marked = 0;  // with the mark of the page
    std::uint64_t touched = 0; // by the guest's count
    std::uint64_t dirty = 0;   // that the guest did not find zero
    std::uint64_t pages = 0;   // that there are
};
[[nodiscard]] std::vector<std::string> judge_touches(std::span<const TouchSeen> seen);

} // namespace nestbed::stress
