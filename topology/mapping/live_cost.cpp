#include "topology/mapping/live_cost.hpp"

#include <algorithm>
#include <utility>

namespace nestbed::topology::mapping {

LiveCost::LiveCost(const Problem& problem, std::vector<std::uint32_t> pus)
    : _problem{&problem}, _pus{std::move(pus)}, _load(problem.costs.pus()), _in_core(problem.costs.cores()),
      _in_node(std::size_t{problem.vcpus} * problem.costs.nodes()),
      _to_package(std::size_t{problem.vcpus} * problem.costs.packages()),
      _to_llc(std::size_t{problem.vcpus} * problem.costs.llcs()), _own(problem.vcpus) {
    const auto& costs = problem.costs;
    std::vector<std::int64_t> to_node(costs.nodes());
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu) {
        count_in(vcpu, _pus[vcpu]);
        std::fill(to_node.begin(), to_node.end(), 0);
        for (const auto& edge : problem.edges[vcpu]) {
            const auto& site = costs.site(_pus[edge.to]);
            to_node[site.node] += edge.weight;
            _to_package[std::size_t{vcpu} * costs.packages() + site.package] += edge.weight;
            _to_llc[std::size_t{vcpu} * costs.llcs() + site.llc] += edge.weight;
        }
        for (std::uint32_t from = 0; from < costs.nodes(); ++from)
            for (std::uint32_t to = 0; to < costs.nodes(); ++to)
                _in_node[std::size_t{vcpu} * costs.nodes() + from] +=
                    to_node[to] * costs.between_nodes(from, to);
    }
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu) {
        _own[vcpu] = cost_at(vcpu, _pus[vcpu]);
        _total += _own[vcpu];
    }
    _total /= 2; // each pair was counted at both ends
}

void LiveCost::count_in(std::uint32_t vcpu, std::uint32_t pu) {
    ++_load[pu];
    _in_core[_problem->costs.site(pu).core].push_back(vcpu);
}

std::int64_t LiveCost::cost_at(std::uint32_t vcpu, std::uint32_t pu) const {
    const auto& costs = _problem->costs;
    const auto& site = costs.site(pu);
    auto cost =
        _in_node[std::size_t{vcpu} * costs.nodes() + site.node] -
        _to_package[std::size_t{vcpu} * costs.packages() + site.package] * (other_package - same_package) -
        _to_llc[std::size_t{vcpu} * costs.llcs() + site.llc] * (same_package - same_llc);
    for (const auto other : _in_core[site.core]) {
        const std::int64_t weight = _problem->weight(vcpu, other);
        cost += _pus[other] == pu ? weight * (same_pu - same_llc) : -weight * (same_llc - same_core);
    }
    return cost;
}

std::int64_t LiveCost::change_of_swap(std::uint32_t a, std::uint32_t b) const {
    const auto at_a = _pus[a];
    const auto at_b = _pus[b];
    // Each looks at the other as if it were still there, on the PU that it goes to itself.
    const auto between = std::int64_t{_problem->costs.between(at_a, at_b)} - same_pu;
    return cost_at(a, at_b) + cost_at(b, at_a) - _own[a] - _own[b] +
           2 * std::int64_t{_problem->weight(a, b)} * between;
}

void LiveCost::move(std::uint32_t vcpu, std::uint32_t pu) {
    const auto& costs = _problem->costs;
    const auto old = _pus[vcpu];
    if (old == pu)
        return;
    const auto& from = costs.site(old);
    const auto& to = costs.site(pu);
    auto& left = _in_core[from.core];
    left.erase(std::find(left.begin(), left.end(), vcpu));
    --_load[old];
    const auto now = cost_at(vcpu, pu);
    _total += now - _own[vcpu];
    _own[vcpu] = now;
    for (const auto& edge : _problem->edges[vcpu]) {
        const std::int64_t weight = edge.weight;
        const auto row = std::size_t{edge.to};
        if (from.node != to.node)
            for (std::uint32_t node = 0; node < costs.nodes(); ++node)
                _in_node[row * costs.nodes() + node] += weight * costs.between_nodes(node, to.node) -
                                                        weight * costs.between_nodes(node, from.node);
        _to_package[row * costs.packages() + from.package] -= weight;
        _to_package[row * costs.packages() + to.package] += weight;
        _to_llc[row * costs.llcs() + from.llc] -= weight;
        _to_llc[row * costs.llcs() + to.llc] += weight;
        const auto other = _pus[edge.to];
        _own[edge.to] += weight * costs.between(other, pu) - weight * costs.between(other, old);
    }
    _pus[vcpu] = pu;
    count_in(vcpu, pu);
}

void LiveCost::swap(std::uint32_t a, std::uint32_t b) {
    const auto at_a = _pus[a];
    const auto at_b = _pus[b];
    move(a, at_b);
    move(b, at_a);
}

} // namespace nestbed::topology::mapping
