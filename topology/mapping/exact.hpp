// The mapper for small cases: branch and bound, with alternatives that only names tell apart left out.
#pragma once

#include <cstdint>
#include <optional>

#include "topology/mapping/problem.hpp"

namespace nestbed::topology::mapping {

inline constexpr std::uint32_t most_vcpus_exactly = 10;
// PUs looked at for a vCPU; some 100 ms.
inline constexpr std::uint64_t most_steps_exactly = 2'000'000;

// The cheapest placement there is, starting from one that is to be beaten. Empty where that cannot be proven
// in so many steps, or for more than most_vcpus_exactly.
[[nodiscard]] std::optional<Mapping> map_exactly(const Problem& problem, const Mapping& to_beat,
                                                 std::uint64_t most_steps = most_steps_exactly);

} // namespace nestbed::topology::mapping
