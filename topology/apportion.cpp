#include "topology/apportion.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace nestbed::topology {

std::vector<std::uint64_t> apportion(std::uint64_t total, std::span<const std::uint64_t> weights) {
    const auto sum = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
    if (sum == 0)
        return std::vector<std::uint64_t>(weights.size(), 0);
    std::vector<std::uint64_t> shares, remainders;
    shares.reserve(weights.size());
    remainders.reserve(weights.size());
    std::uint64_t given = 0;
    for (const auto weight : weights) {
        // total * weight in two parts, neither of which overflows.
        const auto rest = total % sum * weight;
        shares.push_back(total / sum * weight + rest / sum);
        remainders.push_back(rest % sum);
        given += shares.back();
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
