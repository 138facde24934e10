#include "topology/mapping/scotch.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio> // scotch.h wants FILE
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <scotch.h>

namespace nestbed::topology::mapping {

namespace {

struct GraphExit {
    void operator()(SCOTCH_Graph* graph) const noexcept { SCOTCH_graphExit(graph); }
};
struct ArchExit {
    void operator()(SCOTCH_Arch* arch) const noexcept { SCOTCH_archExit(arch); }
};
struct StratExit {
    void operator()(SCOTCH_Strat* strat) const noexcept { SCOTCH_stratExit(strat); }
};
struct ContextExit {
    void operator()(SCOTCH_Context* context) const noexcept { SCOTCH_contextExit(context); }
};

// A tree whose levels branch evenly, with what it costs to go through each level.
struct Tree {
    std::vector<SCOTCH_Num> arity, cost;
    std::vector<std::pair<SCOTCH_Num, std::uint32_t>>
        leaves; // those that there are, ascending, and their PUs
    SCOTCH_Num all_leaves = 1;
};

// By unit of a level, its position in the unit around it.
class Positions {
public:
    explicit Positions(std::uint32_t units) : _of(units, unset) {}

    std::uint32_t operator()(std::uint32_t unit, std::uint32_t around) {
        if (_of[unit] == unset)
            _of[unit] = _members[around]++;
        _most = std::max(_most, _of[unit] + 1);
        return _of[unit];
    }
    [[nodiscard]] std::uint32_t most() const { return _most; }

private:
    static constexpr std::uint32_t unset = ~0U;
    std::vector<std::uint32_t> _of;
    std::map<std::uint32_t, std::uint32_t> _members;
    std::uint32_t _most = 0;
};

std::optional<Tree> even_tree(const Costs& costs) {
    for (std::uint32_t a = 0; a < costs.nodes(); ++a)
        for (std::uint32_t b = 0; b < costs.nodes(); ++b)
            if (a != b && costs.between_nodes(a, b) != costs.between_nodes(0, 1))
                return std::nullopt;
    Positions nodes{costs.nodes()}, packages{costs.packages()}, llcs{costs.llcs()}, cores{costs.cores()},
        pus{costs.pus()};
    std::vector<std::array<std::uint32_t, 5>> paths;
    for (std::uint32_t pu = 0; pu < costs.pus(); ++pu) {
        const auto& site = costs.site(pu);
        paths.push_back({nodes(site.node, 0), packages(site.package, site.node), llcs(site.llc, site.package),
                         cores(site.core, site.llc), pus(pu, site.core)});
    }
    const std::array most{nodes.most(), packages.most(), llcs.most(), cores.most(), pus.most()};
    const std::array prices{costs.nodes() > 1 ? costs.between_nodes(0, 1) : other_package, other_package,
                            same_package, same_llc, same_core};
    Tree tree;
    for (std::size_t level = 0; level < most.size(); ++level)
        if (most.at(level) > 1) {
            tree.arity.push_back(static_cast<SCOTCH_Num>(most.at(level)));
            tree.cost.push_back(static_cast<SCOTCH_Num>(prices.at(level)));
            tree.all_leaves *= tree.arity.back();
        }
    for (std::uint32_t pu = 0; pu < costs.pus(); ++pu) {
        SCOTCH_Num leaf = 0;
        for (std::size_t level = 0; level < most.size(); ++level)
            leaf =
                leaf * static_cast<SCOTCH_Num>(most.at(level)) + static_cast<SCOTCH_Num>(paths[pu].at(level));
        tree.leaves.emplace_back(leaf, pu);
    }
    std::sort(tree.leaves.begin(), tree.leaves.end());
    return tree;
}

// No PU takes more than its share.
void spread_out(const Problem& problem, std::vector<std::uint32_t>& pus) {
    const auto& costs = problem.costs;
    std::vector<std::uint32_t> load(costs.pus());
    auto extra = problem.extra();
    const auto take = [&](std::uint32_t pu) {
        if (load[pu] > problem.base_load() || (load[pu] == problem.base_load() && extra == 0))
            return false;
        extra -= load[pu] == problem.base_load() ? 1U : 0U;
        ++load[pu];
        return true;
    };
    std::vector<std::uint32_t> homeless;
    for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu)
        if (!take(pus[vcpu]))
            homeless.push_back(vcpu);
    for (const auto vcpu : homeless) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> nearest;
        for (std::uint32_t pu = 0; pu < costs.pus(); ++pu)
            nearest.emplace_back(pu == pus[vcpu] ? 0 : costs.between(pus[vcpu], pu), pu);
        std::sort(nearest.begin(), nearest.end());
        for (const auto& [distance, pu] : nearest)
            if (take(pu)) {
                pus[vcpu] = pu;
                break;
            }
    }
}

} // namespace

bool has_scotch() {
    return true;
}

Result<Mapping> map_with_scotch(const Problem& problem, std::uint32_t seed) {
    const auto refuse = [](std::string why) {
        return fail(ErrorKind::host_lacks, "map with Scotch", std::move(why));
    };
    const auto tree = even_tree(problem.costs);
    if (!tree)
        return refuse("its nodes are not equally far");
    std::vector<SCOTCH_Num> first{0}, to, weights;
    for (const auto& edges : problem.edges) {
        for (const auto& edge : edges) {
            to.push_back(static_cast<SCOTCH_Num>(edge.to));
            // Its sums are of 32 bits.
            weights.push_back(std::max<SCOTCH_Num>(1, static_cast<SCOTCH_Num>(edge.weight >> 10)));
        }
        first.push_back(static_cast<SCOTCH_Num>(to.size()));
    }
    SCOTCH_Context context;
    SCOTCH_Graph graph, bound;
    SCOTCH_Arch arch, part;
    SCOTCH_Strat strat;
    if (SCOTCH_contextInit(&context) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Context, ContextExit> own_context{&context};
    if (SCOTCH_graphInit(&graph) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Graph, GraphExit> own_graph{&graph};
    if (SCOTCH_graphInit(&bound) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Graph, GraphExit> own_bound{&bound};
    if (SCOTCH_archInit(&arch) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Arch, ArchExit> own_arch{&arch};
    if (SCOTCH_archInit(&part) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Arch, ArchExit> own_part{&part};
    if (SCOTCH_stratInit(&strat) != 0)
        return refuse("it does not start");
    const std::unique_ptr<SCOTCH_Strat, StratExit> own_strat{&strat};
    // Its threads race for vertices, and its random numbers go on from call to call: one thread and a
    // generator of this call's own.
    if (SCOTCH_contextOptionSetNum(&context, SCOTCH_OPTIONNUMDETERMINISTIC, 1) != 0 ||
        SCOTCH_contextRandomClone(&context) != 0 || SCOTCH_contextThreadSpawn(&context, 1, nullptr) != 0)
        return refuse("it cannot be told to be deterministic");
    SCOTCH_contextRandomSeed(&context, static_cast<SCOTCH_Num>(seed));
    SCOTCH_contextRandomReset(&context);
    std::vector<SCOTCH_Num> domain(problem.vcpus), present;
    for (const auto& [leaf, pu] : tree->leaves)
        present.push_back(leaf);
    const auto arcs = static_cast<SCOTCH_Num>(to.size());
    const auto leaves = static_cast<SCOTCH_Num>(present.size());
    // As uneven as there is room for.
    const auto imbalance =
        std::max(0.01, static_cast<double>(present.size()) / static_cast<double>(problem.vcpus) - 1);
    const auto is_whole = leaves == tree->all_leaves;
    if (SCOTCH_graphBuild(&graph, 0, static_cast<SCOTCH_Num>(problem.vcpus), first.data(), nullptr, nullptr,
                          nullptr, arcs, to.data(), weights.data()) != 0 ||
        SCOTCH_contextBindGraph(&context, &graph, &bound) != 0 ||
        SCOTCH_archTleaf(&arch, static_cast<SCOTCH_Num>(tree->arity.size()), tree->arity.data(),
                         tree->cost.data()) != 0 ||
        (!is_whole && SCOTCH_archSub(&part, &arch, leaves, present.data()) != 0) ||
        SCOTCH_stratGraphMapBuild(&strat, SCOTCH_STRATQUALITY, leaves, imbalance) != 0 ||
        SCOTCH_graphMap(&bound, is_whole ? &arch : &part, &strat, domain.data()) != 0)
        return refuse("it found no mapping");
    Mapping mapping;
    for (const auto leaf : domain)
        mapping.pus.push_back(tree->leaves[static_cast<std::size_t>(leaf)].second);
    spread_out(problem, mapping.pus);
    mapping.cost = cost_of(problem, mapping.pus);
    return mapping;
}

} // namespace nestbed::topology::mapping
