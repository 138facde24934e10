#include "topology/mapping/local_search.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_set>
#include <utility>

namespace nestbed::topology::mapping {

namespace {

using Numbers = std::vector<std::uint32_t>;

// What was done, to be taken back.
class Log {
public:
    explicit Log(LiveCost& live) : _live{live} {}

    void move(std::uint32_t vcpu, std::uint32_t pu) {
        _moves.emplace_back(vcpu, _live.pus()[vcpu]);
        _live.move(vcpu, pu);
    }
    void swap(std::uint32_t a, std::uint32_t b) {
        const auto at_a = _live.pus()[a];
        move(a, _live.pus()[b]);
        move(b, at_a);
    }
    void undo() {
        for (auto i = _moves.size(); i > 0; --i)
            _live.move(_moves[i - 1].first, _moves[i - 1].second);
        _moves.clear();
    }

private:
    LiveCost& _live;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> _moves;
};

struct Best {
    std::int64_t change = 0;
    std::uint32_t partner = 0; // a vCPU, or a PU where is_move
    bool is_move = false;
};

// `first_partner`: vCPUs before it were looked at from the other end.
Best best_change(const Problem& problem, const LiveCost& live, std::uint32_t vcpu,
                 std::uint32_t first_partner, const Numbers& open, Budget& budget) {
    Best best;
    const auto own = live.pus()[vcpu];
    for (auto other = first_partner; other < problem.vcpus; ++other)
        if (live.pus()[other] != own)
            if (const auto change = live.change_of_swap(vcpu, other); change < best.change)
                best = {.change = change, .partner = other, .is_move = false};
    budget.spend(problem.vcpus - first_partner);
    // All open PUs or none: it is this vCPU's own PU that decides.
    if (open.empty() || !live.may_move(vcpu, open.front()))
        return best;
    for (const auto pu : open)
        if (const auto change = live.change_of_move(vcpu, pu); change < best.change)
            best = {.change = change, .partner = pu, .is_move = true};
    budget.spend(open.size());
    return best;
}

void apply(Log& log, std::uint32_t vcpu, const Best& best) {
    if (best.is_move)
        log.move(vcpu, best.partner);
    else
        log.swap(vcpu, best.partner);
}

// Only from those in `queue` and those that come to be disturbed.
void descend_from(const Problem& problem, LiveCost& live, Log& log, Numbers queue, Budget& budget) {
    constexpr std::size_t most_steps = 24;
    for (std::size_t i = 0; i < queue.size() && i < most_steps && !budget.is_spent(); ++i) {
        const auto vcpu = queue[i];
        const auto best = best_change(problem, live, vcpu, 0, open_pus(problem, live), budget);
        budget.spend(problem.costs.pus() / 16); // for the list of open PUs
        if (best.change >= 0)
            continue;
        apply(log, vcpu, best);
        queue.push_back(vcpu);
        if (!best.is_move)
            queue.push_back(best.partner);
    }
}

} // namespace

Numbers open_pus(const Problem& problem, const LiveCost& live) {
    const auto& costs = problem.costs;
    Numbers open;
    if (problem.extra() == 0)
        return open;
    if (problem.base_load() > 0) {
        for (std::uint32_t pu = 0; pu < costs.pus(); ++pu)
            if (live.load(pu) == problem.base_load())
                open.push_back(pu);
        return open;
    }
    // Empty units within the same unit are alike, and so are the free siblings of a core.
    std::vector<bool> package_used(costs.packages(), false), llc_used(costs.llcs(), false);
    for (const auto pu : live.pus()) {
        package_used[costs.site(pu).package] = true;
        llc_used[costs.site(pu).llc] = true;
    }
    std::vector<bool> node_seen(costs.nodes(), false), package_seen(costs.packages(), false),
        llc_seen(costs.llcs(), false), core_seen(costs.cores(), false);
    for (std::uint32_t pu = 0; pu < costs.pus(); ++pu) {
        if (live.load(pu) > 0)
            continue;
        const auto& site = costs.site(pu);
        auto&& seen = !package_used[site.package]       ? node_seen[site.node]
                      : !llc_used[site.llc]             ? package_seen[site.package]
                      : live.in_core(site.core).empty() ? llc_seen[site.llc]
                                                        : core_seen[site.core];
        if (!seen)
            open.push_back(pu);
        seen = true;
    }
    return open;
}

void descend(const Problem& problem, LiveCost& live, Budget& budget) {
    Log log{live};
    auto open = open_pus(problem, live);
    for (bool is_better = true; is_better && !budget.is_spent();) {
        is_better = false;
        for (std::uint32_t vcpu = 0; vcpu < problem.vcpus && !budget.is_spent(); ++vcpu) {
            if (problem.edges[vcpu].empty())
                continue;
            const auto best = best_change(problem, live, vcpu, 0, open, budget);
            if (best.change >= 0)
                continue;
            apply(log, vcpu, best);
            if (best.is_move)
                open = open_pus(problem, live);
            is_better = true;
        }
    }
}

void shake(const Problem& problem, LiveCost& live, Budget& budget, SplitMix64& numbers) {
    Numbers talkers;
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu)
        if (!problem.edges[vcpu].empty())
            talkers.push_back(vcpu);
    if (talkers.empty())
        return;
    // A budget that nothing is spent of would never end.
    for (; !budget.is_spent(); budget.spend(8)) {
        const auto before = live.total();
        Log log{live};
        // Somebody is brought beside one whom it talks to, in the place of whoever is there.
        Numbers disturbed;
        const auto kicks = 1 + numbers.below(2);
        for (std::uint64_t i = 0; i < kicks; ++i) {
            const auto vcpu = talkers[numbers.below(talkers.size())];
            const auto& edges = problem.edges[vcpu];
            const auto beside = edges[numbers.below(edges.size())].to;
            const auto stranger = static_cast<std::uint32_t>(numbers.below(problem.vcpus));
            const auto& core = live.in_core(problem.costs.site(live.pus()[beside]).core);
            auto place = core[numbers.below(core.size())];
            if (place == beside || place == vcpu)
                place = stranger;
            if (live.pus()[place] == live.pus()[vcpu])
                continue;
            log.swap(vcpu, place);
            disturbed.push_back(place);
            disturbed.push_back(beside);
            disturbed.push_back(vcpu);
        }
        descend_from(problem, live, log, std::move(disturbed), budget);
        if (live.total() > before)
            log.undo();
    }
}

} // namespace nestbed::topology::mapping
