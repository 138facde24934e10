// The judgement of the driver "exits". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/wire/exit_mix.hpp"

namespace nestbed::stress {

// What the host saw of one vCPU.
struct ExitsArrived {
    std::uint64_t pio = 0;
    std::uint64_t mmio = 0;
    std::uint64_t interrupts = 0;
};

// A line for each vCPU and kind whose exits did not all arrive, or whose answers changed. Both by vCPU.
[[nodiscard]] std::vector<std::string> judge_exits(std::span<const wire::exit_mix::Counts> made,
                                                   std::span<const ExitsArrived> arrived);

} // namespace nestbed::stress
