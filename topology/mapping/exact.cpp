#include "topology/mapping/exact.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace nestbed::topology::mapping {

namespace {

using Numbers = std::vector<std::uint32_t>;

// Units of which each PU is a part, and of each unit what it is made of: empty units of one make within the
// same unit are alike, so that trying one of them is enough.
struct Makes {
    Numbers core, llc, package, node; // by unit

    explicit Makes(const Costs& costs)
        : core(costs.cores()), llc(costs.llcs()), package(costs.packages()), node(costs.nodes()) {
        std::vector<Numbers> llc_parts(costs.llcs()), package_parts(costs.packages()),
            node_parts(costs.nodes());
        Numbers core_parent(costs.cores()), llc_parent(costs.llcs()), package_parent(costs.packages());
        for (std::uint32_t pu = 0; pu < costs.pus(); ++pu) {
            const auto& site = costs.site(pu);
            ++core[site.core]; // a core's make is its number of PUs
            core_parent[site.core] = site.llc;
            llc_parent[site.llc] = site.package;
            package_parent[site.package] = site.node;
        }
        collect(core, core_parent, llc_parts);
        name(llc_parts, llc);
        collect(llc, llc_parent, package_parts);
        name(package_parts, package);
        collect(package, package_parent, node_parts);
        name(node_parts, node);
    }

private:
    static void collect(const Numbers& makes, const Numbers& parents, std::vector<Numbers>& parts) {
        for (std::size_t i = 0; i < makes.size(); ++i)
            parts[parents[i]].push_back(makes[i]);
    }
    static void name(std::vector<Numbers>& parts, Numbers& makes) {
        std::map<Numbers, std::uint32_t> names;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            std::sort(parts[i].begin(), parts[i].end());
            makes[i] = names.try_emplace(parts[i], static_cast<std::uint32_t>(names.size())).first->second;
        }
    }
};

class Search {
public:
    Search(const Problem& problem, const Mapping& to_beat, std::uint64_t most_steps)
        : _problem{problem}, _costs{problem.costs}, _makes{problem.costs}, _best{to_beat},
          _steps_left{most_steps}, _load(_costs.pus()), _core_load(_costs.cores()), _llc_load(_costs.llcs()),
          _package_load(_costs.packages()), _node_load(_costs.nodes()), _twin(_costs.nodes()) {
        order_vcpus();
        find_twins();
        find_candidates();
        find_nearest();
        _pus.assign(problem.vcpus, 0);
        bound_rest();
    }

    std::optional<Mapping> run() {
        place(0, 0);
        if (_steps_left == 0)
            return std::nullopt;
        _best.is_optimal = true;
        return _best;
    }

private:
    static constexpr std::uint32_t unknown = ~0U;

    // Those who talk most first, and then whoever talks most to those: bounds bite early.
    void order_vcpus() {
        std::vector<bool> is_in(_problem.vcpus, false);
        std::vector<std::int64_t> pull(_problem.vcpus), sum(_problem.vcpus);
        for (std::uint32_t v = 0; v < _problem.vcpus; ++v)
            for (const auto& edge : _problem.edges[v])
                sum[v] += edge.weight;
        while (_order.size() < _problem.vcpus) {
            std::uint32_t next = _problem.vcpus;
            for (std::uint32_t v = 0; v < _problem.vcpus; ++v)
                if (!is_in[v] && (next == _problem.vcpus ||
                                  std::tuple{pull[v], sum[v]} > std::tuple{pull[next], sum[next]}))
                    next = v;
            is_in[next] = true;
            _order.push_back(next);
            for (const auto& edge : _problem.edges[next])
                pull[edge.to] += edge.weight;
        }
    }

    // The distances from the best PU to the places of all others, ascending: nobody has nearer neighbours.
    void find_nearest() {
        const auto others = std::size_t{_problem.vcpus} - 1;
        _nearest.assign(others, std::numeric_limits<std::uint32_t>::max());
        const auto capacity = _problem.base_load() + (_problem.extra() > 0 ? 1 : 0);
        Numbers distances;
        for (const auto a : _candidates) {
            distances.clear();
            for (const auto b : _candidates) {
                const auto places = std::min<std::size_t>(a == b ? capacity - 1 : capacity, others);
                distances.insert(distances.end(), places, _costs.between(a, b));
            }
            const auto kept = std::min(others, distances.size());
            std::partial_sort(distances.begin(), distances.begin() + static_cast<std::ptrdiff_t>(kept),
                              distances.end());
            for (std::size_t i = 0; i < kept; ++i)
                _nearest[i] = std::min(_nearest[i], distances[i]);
        }
    }

    // Of units that are alike no more than there are vCPUs to put somebody into each.
    void find_candidates() {
        std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> counts;
        Numbers node(_costs.nodes(), unknown), package(_costs.packages(), unknown),
            llc(_costs.llcs(), unknown), core(_costs.cores(), unknown);
        std::uint32_t level = 0;
        const auto is_kept = [&](std::uint32_t& kept, std::uint32_t parent, std::uint32_t make) {
            // Parents of different levels are told apart by their lowest two bits.
            if (kept == unknown)
                kept = counts[{parent * 4 + level, make}]++ < _problem.vcpus ? 1 : 0;
            ++level;
            return kept == 1;
        };
        for (std::uint32_t pu = 0; pu < _costs.pus(); ++pu) {
            const auto& site = _costs.site(pu);
            level = 0;
            if (_problem.base_load() > 0 ||
                (is_kept(node[site.node], 0, _twin[site.node]) &&
                 is_kept(package[site.package], site.node, _makes.package[site.package]) &&
                 is_kept(llc[site.llc], site.package, _makes.llc[site.llc]) &&
                 is_kept(core[site.core], site.llc, _makes.core[site.core])))
                _candidates.push_back(pu);
        }
    }

    // Nodes of one make whose distances to all others are the same: the first of them, by node.
    void find_twins() {
        for (std::uint32_t node = 0; node < _costs.nodes(); ++node) {
            _twin[node] = node;
            for (std::uint32_t earlier = 0; earlier < node && _twin[node] == node; ++earlier)
                if (_twin[earlier] == earlier && are_twins(node, earlier))
                    _twin[node] = earlier;
        }
    }

    [[nodiscard]] bool are_twins(std::uint32_t a, std::uint32_t b) const {
        if (_makes.node[a] != _makes.node[b])
            return false;
        for (std::uint32_t other = 0; other < _costs.nodes(); ++other)
            if (other != a && other != b && _costs.between_nodes(a, other) != _costs.between_nodes(b, other))
                return false;
        return true;
    }

    // By position in the order: what all pairs with a vCPU from there on cost at least. A pair has its weight
    // at whichever end comes later, where the heaviest get the nearest places.
    void bound_rest() {
        _rest.assign(std::size_t{_problem.vcpus} + 1, 0);
        Numbers weights;
        for (auto i = std::size_t{_problem.vcpus}; i > 0; --i) {
            weights.clear();
            for (std::size_t j = 0; j + 1 < i; ++j)
                weights.push_back(_problem.weight(_order[i - 1], _order[j]));
            std::sort(weights.rbegin(), weights.rend());
            std::int64_t cost = 0;
            for (std::size_t j = 0; j < weights.size(); ++j)
                cost += std::int64_t{weights[j]} * _nearest[j];
            _rest[i - 1] = _rest[i] + cost;
        }
    }

    [[nodiscard]] bool has_room(std::uint32_t pu) const {
        return _load[pu] < _problem.base_load() ||
               (_load[pu] == _problem.base_load() && _extras_used < _problem.extra());
    }

    // What tells this PU from others: unit by unit, its number where somebody is in it, else its make.
    using Likeness = std::array<std::uint32_t, 10>;
    [[nodiscard]] Likeness likeness(std::uint32_t pu) const {
        const auto& site = _costs.site(pu);
        const auto tell = [](std::uint32_t load, std::uint32_t unit, std::uint32_t make) {
            return load > 0 ? std::pair{0U, unit} : std::pair{1U, make};
        };
        const auto [n, node] = tell(_node_load[site.node], site.node, _twin[site.node]);
        const auto [p, package] =
            tell(_package_load[site.package], site.package, _makes.package[site.package]);
        const auto [l, llc] = tell(_llc_load[site.llc], site.llc, _makes.llc[site.llc]);
        const auto [c, core] = tell(_core_load[site.core], site.core, _makes.core[site.core]);
        const auto [t, thread] = tell(_load[pu], pu, 0);
        return {n, node, p, package, l, llc, c, core, t, thread};
    }

    void place(std::uint32_t position, std::int64_t cost) {
        if (position == _problem.vcpus) {
            _best.cost = cost;
            _best.pus = _pus;
            return;
        }
        const auto vcpu = _order[position];
        std::map<Likeness, std::pair<std::int64_t, std::uint32_t>> choices;
        if (_steps_left <= _candidates.size()) {
            _steps_left = 0;
            return;
        }
        _steps_left -= _candidates.size();
        for (const auto pu : _candidates) {
            if (!has_room(pu))
                continue;
            const auto [at, is_new] = choices.try_emplace(likeness(pu));
            if (is_new)
                at->second = {cost_beside_placed(vcpu, pu, position), pu};
        }
        std::vector<std::pair<std::int64_t, std::uint32_t>> cheapest_first;
        for (const auto& [like, choice] : choices)
            cheapest_first.push_back(choice);
        std::sort(cheapest_first.begin(), cheapest_first.end());
        for (const auto& [more, pu] : cheapest_first) {
            if (cost + more + _rest[position + 1] >= _best.cost)
                return; // all that follow are dearer
            if (_steps_left == 0)
                return;
            put(vcpu, pu, true);
            place(position + 1, cost + more);
            put(vcpu, pu, false);
        }
    }

    [[nodiscard]] std::int64_t cost_beside_placed(std::uint32_t vcpu, std::uint32_t pu,
                                                  std::uint32_t position) const {
        std::int64_t cost = 0;
        for (std::uint32_t i = 0; i < position; ++i)
            cost += std::int64_t{_problem.weight(vcpu, _order[i])} * _costs.between(pu, _pus[_order[i]]);
        return cost;
    }

    void put(std::uint32_t vcpu, std::uint32_t pu, bool is_there) {
        const auto& site = _costs.site(pu);
        const std::uint32_t step = is_there ? 1U : ~0U; // minus one
        if (!is_there && _load[pu] == _problem.base_load() + 1)
            --_extras_used;
        for (auto* load : {&_load[pu], &_core_load[site.core], &_llc_load[site.llc],
                           &_package_load[site.package], &_node_load[site.node]})
            *load += step;
        if (is_there && _load[pu] == _problem.base_load() + 1)
            ++_extras_used;
        _pus[vcpu] = pu;
    }

    const Problem& _problem;
    const Costs& _costs;
    Makes _makes;
    Mapping _best;
    std::uint64_t _steps_left;
    Numbers _order; // vCPUs
    Numbers _pus;   // by vCPU, of those placed
    Numbers _load, _core_load, _llc_load, _package_load, _node_load;
    Numbers _twin;       // by node
    Numbers _candidates; // PUs
    Numbers _nearest;
    std::vector<std::int64_t> _rest;
    std::uint32_t _extras_used = 0;
};

} // namespace

std::optional<Mapping> map_exactly(const Problem& problem, const Mapping& to_beat, std::uint64_t most_steps) {
    if (problem.vcpus == 0 || problem.vcpus > most_vcpus_exactly)
        return std::nullopt;
    return Search{problem, to_beat, most_steps}.run();
}

} // namespace nestbed::topology::mapping
