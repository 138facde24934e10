// The TSC-deadline timer, for drivers that use it, and the judgement of "timer".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/machine/machine.hpp"

namespace nestbed::stress {

struct TimerSeen {
    std::uint64_t fired = 0;
    std::uint64_t early = 0;
};

// What is wrong with a timer that was set so many times.
[[nodiscard]] std::optional<std::string> judge_timer(std::uint32_t vcpu, std::uint64_t set,
                                                     const TimerSeen& seen);

// Whether the guest is shown one.
[[nodiscard]] bool has_deadline_timer(const machine::Machine& machine);

} // namespace nestbed::stress
