#include "topology/host_walk.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "topology/host_distances.hpp"

namespace nestbed::topology {

namespace {

// Ordinary DRAM before memory that is scarce (HBM), slow (CXL, NVM) or a device's. hwloc names the others by
// their subtype; where it names none, the kernel's numbering decides, which counts DRAM first.
enum class MemoryTier { dram, other };

MemoryTier tier_of(hwloc_obj_t node) {
    const std::string_view subtype = node->subtype == nullptr ? "" : node->subtype;
    return subtype.empty() || subtype == "DRAM" ? MemoryTier::dram : MemoryTier::other;
}

struct Candidate {
    MemoryTier tier = MemoryTier::dram;
    int depth = 0; // of the object that it is attached to: deeper is nearer
    std::uint32_t os_index = 0;
    std::uint32_t index = 0; // into Host::nodes

    [[nodiscard]] bool is_better_than(const Candidate& other) const {
        return std::tuple{tier, -depth, os_index} < std::tuple{other.tier, -other.depth, other.os_index};
    }
};

// What the objects above a PU say about it.
struct Scope {
    std::optional<std::uint32_t> package, llc, core;
    std::optional<Candidate> with_memory, any;
};

class Walker {
public:
    Walker(hwloc_topology_t topology, bool memory_is_known) : _topology{topology} {
        list_nodes(memory_is_known);
        _host.distances = read_distances(topology);
        list_offline();
        visit(hwloc_get_root_obj(topology), {});
        for (const auto& pu : _host.pus)
            if (pu.node)
                _host.nodes[*pu.node].has_pus = true;
    }

    [[nodiscard]] Host take() && { return std::move(_host); }

private:
    void list_nodes(bool memory_is_known) {
        const auto* const allowed = hwloc_topology_get_allowed_nodeset(_topology);
        for (hwloc_obj_t object = nullptr;
             (object = hwloc_get_next_obj_by_type(_topology, HWLOC_OBJ_NUMANODE, object)) != nullptr;) {
            const auto& attributes = object->attr->numanode;
            Node node{.os_index = object->os_index,
                      .memory_bytes = memory_is_known ? attributes.local_memory : 0,
                      .free_bytes = 0,
                      .allowed = hwloc_bitmap_isset(allowed, object->os_index) != 0,
                      .has_pus = false, // until a PU calls it its own
                      .huge_pages = {}};
            node.free_bytes = node.memory_bytes;
            // The first type is the base page (hwloc.h, hwloc_memory_page_type_s).
            for (unsigned i = 1; memory_is_known && i < attributes.page_types_len; ++i)
                node.huge_pages.push_back({.page_bytes = attributes.page_types[i].size,
                                           .total = attributes.page_types[i].count,
                                           .free = attributes.page_types[i].count});
            _tiers.push_back(tier_of(object));
            _memory_is_recorded = _memory_is_recorded || node.memory_bytes > 0;
            _host.nodes.push_back(std::move(node));
        }
    }

    // hwloc's complete set has what the machine could have, the other one what is there.
    void list_offline() {
        const auto* const complete = hwloc_topology_get_complete_cpuset(_topology);
        const auto* const online = hwloc_topology_get_topology_cpuset(_topology);
        if (complete == nullptr || online == nullptr || hwloc_bitmap_weight(complete) < 0)
            return; // -1: without end
        for (int pu = hwloc_bitmap_first(complete); pu >= 0; pu = hwloc_bitmap_next(complete, pu))
            if (hwloc_bitmap_isset(online, static_cast<unsigned>(pu)) == 0)
                _host.offline_pus.push_back(static_cast<std::uint32_t>(pu));
    }

    // `below` is the normal object whose memory children are looked at; memory-side caches stand between.
    void offer_memory(Scope& scope, hwloc_obj_t below, int depth) const {
        for (auto* child = below->memory_first_child; child != nullptr; child = child->next_sibling) {
            if (child->type == HWLOC_OBJ_NUMANODE) {
                const Candidate candidate{tier_of(child), depth, child->os_index, child->logical_index};
                if (!scope.any || candidate.is_better_than(*scope.any))
                    scope.any = candidate;
                const bool usable = !_memory_is_recorded || _host.nodes[candidate.index].memory_bytes > 0;
                if (usable && (!scope.with_memory || candidate.is_better_than(*scope.with_memory)))
                    scope.with_memory = candidate;
            }
            offer_memory(scope, child, depth);
        }
    }

    void visit(hwloc_obj_t object, Scope scope) {
        offer_memory(scope, object, object->depth);
        if (object->type == HWLOC_OBJ_PACKAGE)
            scope.package = _host.packages++;
        else if (object->type == HWLOC_OBJ_CORE)
            scope.core = _host.cores++;
        else if (hwloc_obj_type_is_dcache(object->type) != 0 && !scope.llc)
            scope.llc = _host.llcs++;
        else if (object->type == HWLOC_OBJ_PU)
            add_pu(object, scope);
        for (unsigned i = 0; i < object->arity; ++i)
            visit(object->children[i], scope);
    }

    void add_pu(hwloc_obj_t object, const Scope& scope) {
        const auto package = scope.package ? *scope.package : implied_package();
        const auto llc = scope.llc ? *scope.llc : implied_llc(package);
        const auto* const allowed = hwloc_topology_get_allowed_cpuset(_topology);
        _host.pus.push_back({.os_index = object->os_index,
                             .core = scope.core ? *scope.core : _host.cores++,
                             .llc = llc,
                             .package = package,
                             .node = node_of(scope),
                             .allowed = hwloc_bitmap_isset(allowed, object->os_index) != 0});
    }

    // PUs outside any package are in one together.
    std::uint32_t implied_package() {
        if (!_implied_package)
            _implied_package = _host.packages++;
        return *_implied_package;
    }

    // Without caches the package stands in for the last level.
    std::uint32_t implied_llc(std::uint32_t package) {
        const auto [at, is_new] = _implied_llcs.try_emplace(package, _host.llcs);
        if (is_new)
            ++_host.llcs;
        return at->second;
    }

    [[nodiscard]] std::optional<std::uint32_t> node_of(const Scope& scope) const {
        const auto own = scope.any ? scope.any->index : 0;
        if (scope.with_memory && scope.with_memory->index == own)
            return own;
        // A node without memory: the kernel takes the nearest that has some, and so do we. Of equals DRAM,
        // then the one that is around the PU.
        std::optional<std::tuple<std::uint32_t, MemoryTier, bool, std::uint32_t>> best;
        for (std::uint32_t to = 0; to < _host.nodes.size(); ++to) {
            const bool is_around = scope.with_memory && scope.with_memory->index == to;
            const std::tuple rank{distance_between(_host, own, to), _tiers[to], !is_around, to};
            if (_host.nodes[to].memory_bytes > 0 && (!best || rank < *best))
                best = rank;
        }
        return best ? std::optional{std::get<3>(*best)} : std::nullopt;
    }

    hwloc_topology_t _topology;
    Host _host;
    std::vector<MemoryTier> _tiers;   // by index into Host::nodes
    bool _memory_is_recorded = false; // by at least one node
    std::optional<std::uint32_t> _implied_package;
    std::map<std::uint32_t, std::uint32_t> _implied_llcs;
};

} // namespace

Host walk(hwloc_topology_t topology, bool memory_is_known) {
    return Walker{topology, memory_is_known}.take();
}

} // namespace nestbed::topology
