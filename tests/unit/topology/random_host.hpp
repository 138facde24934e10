// Hosts that a generator makes up from a seed: uneven, partly allowed, with distances of their own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.hpp"
#include "topology/host.hpp"
#include "topology/random_numbers.hpp"
#include "topology/traffic.hpp"

namespace nestbed::topology {

struct HostLimits {
    std::uint64_t packages = 3, nodes = 3, llcs = 2, cores = 3, threads = 2; // at most, in what is above
};

// Deterministic. At least one PU and one node with memory are allowed.
inline Host random_host(SplitMix64& numbers, const HostLimits& limits) {
    Host host;
    host.source = "a random host";
    const auto up_to = [&](std::uint64_t most) { return 1 + numbers.below(most); };
    const auto smt = up_to(limits.threads);
    const bool is_even = numbers.below(2) == 0;
    const auto even_cores = up_to(limits.cores);
    for (auto package = up_to(limits.packages); package > 0; --package, ++host.packages)
        for (auto node = up_to(limits.nodes); node > 0; --node) {
            const auto index = static_cast<std::uint32_t>(host.nodes.size());
            const auto bytes = numbers.below(8) == 0 ? 0 : (8 + numbers.below(8)) * GiB;
            host.nodes.push_back({.os_index = index * 2,
                                  .memory_bytes = bytes,
                                  .free_bytes = bytes,
                                  .allowed = numbers.below(8) != 0,
                                  .has_pus = true,
                                  .huge_pages = {}});
            if (numbers.below(10) == 0) { // a node with memory and no PUs
                host.nodes.back().has_pus = false;
                continue;
            }
            for (auto llc = up_to(limits.llcs); llc > 0; --llc, ++host.llcs)
                for (auto core = is_even ? even_cores : up_to(limits.cores); core > 0; --core, ++host.cores)
                    for (std::uint64_t thread = 0; thread < smt; ++thread)
                        host.pus.push_back({.os_index = static_cast<std::uint32_t>(host.pus.size() * 3 + 1),
                                            .core = host.cores,
                                            .llc = host.llcs,
                                            .package = host.packages,
                                            .node = index,
                                            .allowed = is_even || numbers.below(6) != 0});
        }
    if (host.pus.empty())
        host.pus.push_back({.os_index = 0, .node = 0});
    host.pus[numbers.below(host.pus.size())].allowed = true;
    auto& first = host.nodes.front();
    first.allowed = true;
    first.memory_bytes = first.free_bytes = 64 * GiB;
    for (std::size_t a = 0; a < host.nodes.size(); ++a) {
        auto& row = host.distances.emplace_back();
        for (std::size_t b = 0; b < host.nodes.size(); ++b)
            row.push_back(a == b  ? 10U
                          : b < a ? host.distances[b][a]
                                  : 12U + 4 * static_cast<std::uint32_t>(numbers.below(6)));
    }
    return host;
}

inline void add_traffic(Traffic& traffic, std::uint32_t a, std::uint32_t b, double weight) {
    const auto add = [&](std::uint32_t from, std::uint32_t to) {
        auto& edges = traffic.of[from];
        const auto at = std::lower_bound(edges.begin(), edges.end(), to,
                                         [](const auto& edge, std::uint32_t vcpu) { return edge.to < vcpu; });
        if (at != edges.end() && at->to == to)
            at->weight += weight;
        else
            edges.insert(at, {.to = to, .weight = weight});
    };
    if (a == b)
        return;
    add(a, b);
    add(b, a);
}

// Each pair talks with a chance of `percent`.
inline Traffic random_traffic(SplitMix64& numbers, std::uint32_t vcpus, std::uint64_t percent) {
    Traffic traffic;
    traffic.of.resize(vcpus);
    for (std::uint32_t a = 0; a < vcpus; ++a)
        for (std::uint32_t b = a + 1; b < vcpus; ++b)
            if (numbers.below(100) < percent)
                add_traffic(traffic, a, b, static_cast<double>(1 + numbers.below(1000)));
    return traffic;
}

// The same traffic between other vCPUs, so that numbers say nothing of who talks to whom.
inline Traffic shuffled(const Traffic& traffic, SplitMix64& numbers) {
    std::vector<std::uint32_t> names;
    for (std::uint32_t i = 0; i < traffic.vcpus(); ++i)
        names.push_back(i);
    shuffle(names, numbers);
    Traffic other;
    other.of.resize(traffic.of.size());
    for (std::uint32_t a = 0; a < traffic.vcpus(); ++a) {
        for (const auto& edge : traffic.of[a])
            other.of[names[a]].push_back({.to = names[edge.to], .weight = edge.weight});
    }
    for (auto& edges : other.of)
        std::sort(edges.begin(), edges.end(), [](const auto& x, const auto& y) { return x.to < y.to; });
    return other;
}

} // namespace nestbed::topology
