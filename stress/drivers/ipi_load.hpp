// The judgement of the drivers "ipi.*" and "ipi-matrix". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/wire/ipi_load.hpp"

namespace nestbed::stress {

struct IpiTotals {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t unclaimed = 0;
    std::uint64_t busy = 0;
    std::uint64_t backward = 0;
};

[[nodiscard]] IpiTotals totals_of(std::span<const wire::ipi_load::Vcpu> vcpus);

// A line for each vCPU with an interrupt that was not acknowledged, or that nobody had sent to it, and one
// where the sums differ. By vCPU.
[[nodiscard]] std::vector<std::string> judge_ipis(std::span<const wire::ipi_load::Vcpu> vcpus);

// 1 to vcpus - 1, each once, in an order drawn from the seed.
[[nodiscard]] std::vector<std::uint32_t> shuffled_offsets(std::uint32_t vcpus, std::uint64_t seed);

} // namespace nestbed::stress
