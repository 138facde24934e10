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
    [[nodiscard]] std::int64_t cost_at(std::uint32_t vcpu, std::uint32_t pu) const;

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

    const Problem* _problem;
    std::vector<std::uint32_t> _pus; // by vCPU
    std::vector<std::uint32_t> _load;
    std::vector<std::vector<std::uint32_t>> _in_core; // vCPUs
    // Rows by vCPU: cost if it were in that node with nobody nearer, and weight to each package and cache.
    std::vector<std::int64_t> _in_node, _to_package, _to_llc;
    std::vector<std::int64_t> _own;
    std::int64_t _total = 0;
};

} // namespace nestbed::topology::mapping
