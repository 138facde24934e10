#include "topology/mapping/live_cost.hpp"

#include <algorithm>
#include <utility>

namespace nestbed::topology::mapping {

namespace {

// An odd number of cache lines: a vCPU's column would else fall into one set of each cache, where vCPUs are a
// power of two.
std::size_t row_length(std::uint32_t vcpus) {
    constexpr std::size_t line = 64 / sizeof(std::int64_t);
    return ((vcpus + line - 1) / line | 1U) * line;
}

} // namespace

LiveCost::LiveCost(const Problem& problem, std::vector<std::uint32_t> pus)
    : _problem{&problem}, _row{row_length(problem.vcpus)}, _pus{std::move(pus)}, _load(problem.costs.pus()),
      _in_core(problem.costs.cores()), _in_node(_row * problem.costs.nodes()),
      _to_package(_row * problem.costs.packages()), _to_llc(_row * problem.costs.llcs()),
      _own(problem.vcpus) {
    const auto& costs = problem.costs;
    std::vector<std::int64_t> to_node(costs.nodes());
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu) {
        count_in(vcpu, _pus[vcpu]);
        std::fill(to_node.begin(), to_node.end(), 0);
        for (const auto& edge : problem.edges[vcpu]) {
            const auto& site = costs.site(_pus[edge.to]);
            to_node[site.node] += edge.weight;
            _to_package[at(site.package, vcpu)] += edge.weight;
            _to_llc[at(site.llc, vcpu)] += edge.weight;
        }
        for (std::uint32_t to = 0; to < costs.nodes(); ++to)
            if (to_node[to] != 0) // few talk to every node
                for (std::uint32_t from = 0; from < costs.nodes(); ++from)
                    _in_node[at(from, vcpu)] += to_node[to] * costs.between_nodes(from, to);
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
    if (from.node != to.node)
        for (std::uint32_t node = 0; node < costs.nodes(); ++node) {
            const auto farther = std::int64_t{costs.between_nodes(node, to.node)} -
                                 std::int64_t{costs.between_nodes(node, from.node)};
            for (const auto& edge : _problem->edges[vcpu])
                _in_node[at(node, edge.to)] += edge.weight * farther;
        }
    for (const auto& edge : _problem->edges[vcpu]) {
        const std::int64_t weight = edge.weight;
        _to_package[at(from.package, edge.to)] -= weight;
        _to_package[at(to.package, edge.to)] += weight;
        _to_llc[at(from.llc, edge.to)] -= weight;
        _to_llc[at(to.llc, edge.to)] += weight;
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
