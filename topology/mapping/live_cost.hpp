// A placement that knows what each change of it would cost.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/mapping/problem.hpp"

namespace nestbed::topology::mapping {

// Distances are nested (siblings, cache, package, node), so a vCPU's cost on any PU follows from what it says
// to each unit around that PU: a lookup for each level instead of a walk over all its partners. Memory is
// vcpus x (nodes + packages + caches) numbers.
class LiveCost {
public:
    // `problem` outlives it.
    LiveCost(const Problem& problem, std::vector<std::uint32_t> pus);

    [[nodiscard]] const std::vector<std::uint32_t>& pus() const { return _pus; }
    [[nodiscard]] std::int64_t total() const { return _total; }
    [[nodiscard]] std::uint32_t load(std::uint32_t pu) const { return _load[pu]; }
    [[nodiscard]] const std::vector<std::uint32_t>& in_core(std::uint32_t core) const {
        return _in_core[core];
    }

    // What the vCPU says, times distance, all others where they are.
    [[nodiscard]] std::int64_t cost(std::uint32_t vcpu) const { return _own[vcpu]; }
    [[nodiscard]] std::int64_t cost_at(std::uint32_t vcpu, std::uint32_t pu) const {
        return cost_at(vcpu, pu, [&](std::uint32_t other) { return _problem->weight(vcpu, other); });
    }

    // Of the total; negative is better.
    [[nodiscard]] std::int64_t change_of_move(std::uint32_t vcpu, std::uint32_t pu) const {
        return cost_at(vcpu, pu) - _own[vcpu];
    }
    [[nodiscard]] std::int64_t change_of_swap(std::uint32_t a, std::uint32_t b) const;

    // Whether loads stay as even as they are.
    [[nodiscard]] bool may_move(std::uint32_t vcpu, std::uint32_t pu) const {
        return _load[pu] == _problem->base_load() && _load[_pus[vcpu]] == _problem->base_load() + 1;
    }

    void move(std::uint32_t vcpu, std::uint32_t pu);
    void swap(std::uint32_t a, std::uint32_t b);

private:
    void count_in(std::uint32_t vcpu, std::uint32_t pu);
    [[nodiscard]] std::size_t at(std::uint32_t unit, std::uint32_t vcpu) const {
        return std::size_t{unit} * _row + vcpu;
    }

    const Problem* _problem;
    std::size_t _row;                // numbers from one row to the next
    std::vector<std::uint32_t> _pus; // by vCPU
    std::vector<std::uint32_t> _load;
    std::vector<std::vector<std::uint32_t>> _in_core; // vCPUs
    template<typename WeightTo>
    [[nodiscard]] std::int64_t cost_at(std::uint32_t vcpu, std::uint32_t pu, WeightTo weight_to) const;

    // Rows by unit, columns by vCPU, as searches walk over vCPUs for one place: cost if the vCPU were in that
    // node with nobody nearer, and weight to each package and cache.
    std::vector<std::int64_t> _in_node, _to_package, _to_llc;
    std::vector<std::int64_t> _own;
    std::int64_t _total = 0;
};

template<typename WeightTo>
std::int64_t LiveCost::cost_at(std::uint32_t vcpu, std::uint32_t pu, WeightTo weight_to) const {
    const auto& site = _problem->costs.site(pu);
    auto cost = _in_node[at(site.node, vcpu)] -
                _to_package[at(site.package, vcpu)] * (other_package - same_package) -
                _to_llc[at(site.llc, vcpu)] * (same_package - same_llc);
    for (const auto other : _in_core[site.core]) {
        const std::int64_t weight = weight_to(other);
        cost += _pus[other] == pu ? weight * (same_pu - same_llc) : -weight * (same_llc - same_core);
    }
    return cost;
}

// `a` stays the same while a search walks over `b`: what is read of the many is in rows of `a` and of those
// beside it.
inline std::int64_t LiveCost::change_of_swap(std::uint32_t a, std::uint32_t b) const {
    const auto at_a = _pus[a];
    const auto at_b = _pus[b];
    // Each looks at the other as if it were still there, on the PU that it goes to itself.
    const auto between = std::int64_t{_problem->costs.between(at_a, at_b)} - same_pu;
    const auto of_b =
        cost_at(b, at_a, [&](std::uint32_t other) { return _problem->weight(other, b); }); // symmetric
    return cost_at(a, at_b) + of_b - _own[a] - _own[b] + 2 * std::int64_t{_problem->weight(a, b)} * between;
}

} // namespace nestbed::topology::mapping
