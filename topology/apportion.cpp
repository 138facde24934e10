#include "topology/apportion.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace nestbed::topology {

std::vector<std::uint64_t> apportion(std::uint64_t total, std::span<const std::uint64_t> weights) {
    const auto sum = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
    std::vector<std::uint64_t> shares(weights.size()), remainders(weights.size());
    if (sum == 0)
        return shares;
    std::uint64_t given = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        // total * weight in two parts, neither of which overflows.
        const auto rest = total % sum * weights[i];
        shares[i] = total / sum * weights[i] + rest / sum;
        remainders[i] = rest % sum;
        given += shares[i];
    }
    std::vector<std::size_t> order(weights.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
    for (std::size_t i = 0; given < total; ++i, ++given)
        ++shares[order[i]];
    return shares;
}

} // namespace nestbed::topology
