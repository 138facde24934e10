#include "topology/score.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "topology/host_distances.hpp"
#include "topology/mapping/live_cost.hpp"
#include "topology/placement.hpp"

namespace nestbed::topology {

namespace {

using Numbers = std::vector<std::uint32_t>;

// By vCPU, a position in usable.pus; empty where one has not exactly one PU that is usable.
std::optional<Numbers> positions(const Plan& plan, const Host& host, const UsableHost& usable) {
    std::map<std::uint32_t, std::uint32_t> position; // by os index
    for (std::uint32_t i = 0; i < usable.pus.size(); ++i)
        position[host.pus[usable.pus[i]].os_index] = i;
    Numbers found;
    for (const auto& vcpu : plan.vcpus) {
        const auto at = vcpu.pus.size() == 1 ? position.find(vcpu.pus.front()) : position.end();
        if (at == position.end())
            return std::nullopt;
        found.push_back(at->second);
    }
    return found;
}

PairScore score_pairs(const Numbers& pus, const Host& host, const UsableHost& usable,
                      const Traffic& traffic) {
    const mapping::Costs costs{host, usable};
    PairScore score;
    double sum = 0;
    for (std::uint32_t a = 0; a < traffic.vcpus(); ++a)
        for (const auto& [b, weight] : traffic.of[a]) {
            if (b < a)
                continue;
            const auto& one = costs.site(pus[a]);
            const auto& other = costs.site(pus[b]);
            const auto from = usable.home[usable.pus[pus[a]]], to = usable.home[usable.pus[pus[b]]];
            const auto there = distance_between(host, from, to), back = distance_between(host, to, from);
            sum += weight;
            score.mean_cost += weight * costs.between(pus[a], pus[b]);
            score.mean_numa_distance += weight * (there + back) / 2;
            score.worst_numa_distance = std::max({score.worst_numa_distance, there, back});
            score.shared_llc += one.llc == other.llc ? weight : 0;
            score.shared_core += one.core == other.core ? weight : 0;
        }
    if (sum > 0)
        for (auto* mean :
             {&score.mean_cost, &score.mean_numa_distance, &score.shared_llc, &score.shared_core})
            *mean /= sum;
    return score;
}

std::vector<double> locality(const Plan& plan, const Host& host, const UsableHost& usable) {
    std::map<std::uint32_t, std::uint32_t> home; // os indexes: of a PU's memory node
    for (const auto pu : usable.pus)
        home[host.pus[pu].os_index] = host.nodes[usable.home[pu]].os_index;
    std::vector<double> local(plan.nodes.size());
    Numbers members(plan.nodes.size());
    for (const auto& vcpu : plan.vcpus) {
        const auto& node = plan.nodes[vcpu.virtual_node];
        ++members[vcpu.virtual_node];
        const bool is_local = node.host_node && !vcpu.pus.empty() &&
                              std::all_of(vcpu.pus.begin(), vcpu.pus.end(), [&](std::uint32_t pu) {
                                  const auto at = home.find(pu);
                                  return at != home.end() && at->second == *node.host_node;
                              });
        local[vcpu.virtual_node] += is_local ? 1 : 0;
    }
    for (std::size_t i = 0; i < local.size(); ++i)
        local[i] = members[i] > 0 ? local[i] / members[i] : 0;
    return local;
}

} // namespace

Result<Score> score(const Plan& plan, const Host& host, const Traffic& traffic) {
    const auto usable = usable_part(host);
    if (!usable)
        return tl::unexpected{usable.error()};
    Score score;
    score.memory_locality = locality(plan, host, *usable);
    const auto pus = positions(plan, host, *usable);
    if (!pus)
        return score;
    score.pairs = score_pairs(*pus, host, *usable, traffic);
    std::map<std::uint32_t, std::uint32_t> load;
    std::set<std::uint32_t> used, all;
    for (const auto pu : usable->pus)
        all.insert(host.pus[pu].core);
    for (const auto pu : *pus) {
        score.max_vcpus_per_pu = std::max(score.max_vcpus_per_pu, ++load[pu]);
        used.insert(host.pus[usable->pus[pu]].core);
    }
    score.mean_vcpus_per_pu = static_cast<double>(pus->size()) / static_cast<double>(load.size());
    score.stranded_cores =
        static_cast<std::uint32_t>(std::min(all.size() - used.size(), pus->size() - used.size()));
    return score;
}

std::vector<std::size_t> rank(const std::vector<Score>& scores) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto key = [&](std::size_t i) {
        const auto& each = scores[i];
        return std::tuple{!each.pairs.has_value(), each.pairs ? each.pairs->mean_cost : 0.0,
                          each.max_vcpus_per_pu, each.stranded_cores};
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    return order;
}

namespace {

// By vCPU: its share of the cost; not by a problem's weights, which are 1 or more however tiny the traffic
// is.
std::vector<double> shares(const Numbers& pus, const mapping::Costs& costs, const Traffic& traffic) {
    std::vector<double> own(traffic.vcpus());
    for (std::uint32_t a = 0; a < traffic.vcpus(); ++a)
        for (const auto& [b, weight] : traffic.of[a])
            own[a] += weight * costs.between(pus[a], pus[b]);
    const auto sum = std::accumulate(own.begin(), own.end(), 0.0);
    for (auto& each : own)
        each /= sum > 0 ? sum : 1;
    return own;
}

} // namespace

Result<std::vector<Alternative>> alternatives(const Plan& plan, const Host& host, const Traffic& traffic) {
    const auto usable = usable_part(host);
    if (!usable)
        return tl::unexpected{usable.error()};
    std::vector<Alternative> found;
    const auto pus = positions(plan, host, *usable);
    if (!pus)
        return found;
    const auto problem = mapping::make_problem(traffic, host, *usable);
    const mapping::LiveCost live{problem, *pus};
    const auto total = std::max(1.0, static_cast<double>(live.total()));
    const auto share_of = shares(*pus, problem.costs, traffic);
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu) {
        Alternative best;
        best.share = share_of[vcpu];
        std::optional<std::int64_t> least;
        const auto consider = [&](std::int64_t change, std::uint32_t pu,
                                  std::optional<std::uint32_t> partner) {
            const bool is_same_place =
                change == 0 && problem.costs.site(pu) == problem.costs.site((*pus)[vcpu]);
            if (is_same_place || (least && change >= *least))
                return;
            least = change;
            best.pu = host.pus[usable->pus[pu]].os_index;
            best.partner = partner;
        };
        for (std::uint32_t pu = 0; pu < problem.costs.pus(); ++pu)
            if (live.load(pu) < live.load((*pus)[vcpu]))
                consider(live.change_of_move(vcpu, pu), pu, std::nullopt);
        for (std::uint32_t other = 0; other < problem.vcpus; ++other)
            if ((*pus)[other] != (*pus)[vcpu])
                consider(live.change_of_swap(vcpu, other), (*pus)[other], other);
        best.change = least ? static_cast<double>(*least) / total : 0;
        found.push_back(best);
    }
    return found;
}

} // namespace nestbed::topology
