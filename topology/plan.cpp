#include "topology/plan.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/host_distances.hpp"
#include "topology/mapping/map.hpp"
#include "topology/memory_split.hpp"
#include "topology/placement.hpp"
#include "topology/plan_file.hpp"
#include "topology/plan_reasons.hpp"
#include "topology/shape_choice.hpp"

namespace nestbed::topology {

namespace {

using Indexes = std::vector<std::uint32_t>;

Status check_request(const PlanRequest& request) {
    constexpr std::uint32_t max_vcpus = 1U << 20;                // parse_shape() ends there too
    constexpr std::uint64_t max_memory = std::uint64_t{1} << 52; // physical address bits, SDM volume 3, 5.1.4
    if (request.vcpus == 0)
        return fail(ErrorKind::bad_input, "a guest with 0 vCPUs", "it could not run", "ask for one or more");
    if (request.vcpus > max_vcpus)
        return fail(ErrorKind::bad_input, fmt::format("a guest with {} vCPUs", request.vcpus),
                    fmt::format("at most {} can be numbered", max_vcpus));
    if (request.memory_bytes == 0)
        return fail(ErrorKind::bad_input, "a guest without memory", "it could not run",
                    "ask for 64M or more");
    if (request.memory_bytes > max_memory)
        return fail(ErrorKind::bad_input, fmt::format("{} of memory", format_size(request.memory_bytes)),
                    "an address has 52 bits, which is 4096 TiB");
    const auto kind = request.policy.kind;
    if (request.lying && (request.shape || kind == Policy::none || kind == Policy::file))
        return fail(ErrorKind::bad_input,
                    fmt::format("a lying topology, policy {}", to_string(request.policy)),
                    request.shape          ? "there is a shape that the guest is to be shown"
                    : kind == Policy::none ? "nothing is pinned, so that nothing shown is true or false"
                                           : "a plan file says itself what is shown and what is true",
                    "choose a policy that pins vCPUs, and no shape");
    if (!request.shape || vcpu_count(*request.shape) == request.vcpus)
        return {};
    const auto& shape = *request.shape;
    const auto text = shape.dies == 1 ? fmt::format("{}x{}x{}", shape.sockets, shape.cores, shape.threads)
                                      : format_shape(shape);
    return fail(ErrorKind::bad_input, fmt::format("topology {}", text),
                fmt::format("{} is {} vCPUs, asked were {}", text, vcpu_count(shape), request.vcpus),
                fmt::format("use --vcpus {}, or a topology that multiplies out to {}", vcpu_count(shape),
                            request.vcpus));
}

// The virtual nodes: by vCPU its number, and by number the host node (index into host.nodes) behind it.
struct VirtualNodes {
    Indexes of_vcpu;
    Indexes host_nodes;
    bool fewer_than_touched = false; // for want of pages
};

// A virtual node for each host node that a vCPU has its memory from, numbered as vCPUs come to them, so that
// vCPU 0 is in node 0. No more of them than there are pages: those with the most vCPUs stay, the others'
// vCPUs go to the nearest that stays.
VirtualNodes number_nodes(const Indexes& home_of_vcpu, std::uint64_t pages, const Host& host) {
    std::map<std::uint32_t, std::uint32_t> vcpus_in;
    for (const auto home : home_of_vcpu)
        ++vcpus_in[home];
    Indexes kept;
    for (const auto& [home, count] : vcpus_in)
        kept.push_back(home);
    if (pages < kept.size()) {
        std::stable_sort(kept.begin(), kept.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return vcpus_in[a] > vcpus_in[b]; });
        kept.resize(pages);
    }
    std::map<std::uint32_t, std::uint32_t> moved_to;
    for (const auto& [home, count] : vcpus_in)
        moved_to[home] = *std::min_element(kept.begin(), kept.end(), [&, from = home](auto a, auto b) {
            return std::pair{distance_between(host, from, a), a} <
                   std::pair{distance_between(host, from, b), b};
        });
    VirtualNodes nodes;
    nodes.fewer_than_touched = kept.size() < vcpus_in.size();
    std::map<std::uint32_t, std::uint32_t> numbers;
    for (const auto home : home_of_vcpu) {
        const auto [at, is_new] = numbers.try_emplace(moved_to[home], nodes.host_nodes.size());
        if (is_new)
            nodes.host_nodes.push_back(at->first);
        nodes.of_vcpu.push_back(at->second);
    }
    return nodes;
}

std::vector<std::uint64_t> count_members(const VirtualNodes& nodes) {
    std::vector<std::uint64_t> counts(nodes.host_nodes.size());
    for (const auto node : nodes.of_vcpu)
        ++counts[node];
    return counts;
}

Status place_memory(Plan& plan, std::uint64_t bytes, const VirtualNodes& nodes, const Host& host,
                    bool lying) {
    const auto weights = count_members(nodes);
    const auto shares = split_memory(bytes, plan.page_size, weights);
    std::vector<NodeShare> asked;
    for (std::size_t i = 0; i < shares.size(); ++i)
        asked.push_back({.node = nodes.host_nodes[i], .bytes = shares[i], .weight = weights[i]});
    if (auto checked = check_shares(asked, plan.page_size, host); !checked)
        return checked;
    for (std::size_t i = 0; i < shares.size(); ++i)
        plan.nodes.push_back(
            {.virtual_node = static_cast<std::uint32_t>(i),
             .host_node = host.nodes[asked[i].node].os_index,
             .memory_bytes = shares[i],
             .reason = reason_for_node(plan.policy, weights[i], nodes.of_vcpu.size(), lying)});
    for (const auto from : nodes.host_nodes) {
        auto& row = plan.distances.emplace_back();
        for (const auto to : nodes.host_nodes)
            row.push_back(distance_between(host, from, to));
    }
    return {};
}

void place_unbound(Plan& plan, std::uint32_t vcpus, std::uint64_t bytes) {
    plan.nodes.push_back({.virtual_node = 0,
                          .host_node = std::nullopt,
                          .memory_bytes = bytes,
                          .reason = "not bound: the kernel takes pages where it finds them"});
    plan.distances = {{local_distance}};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = 0,
                              .virtual_node = 0,
                              .pus = {},
                              .reason = "not pinned: the kernel's scheduler decides"});
}

void place_vcpus(Plan& plan, const Indexes& chosen, const VirtualNodes& nodes, const Host& host,
                 const UsableHost& usable, bool lying) {
    std::map<std::uint32_t, std::uint32_t> load;
    for (const auto pu : chosen)
        ++load[pu];
    for (std::uint32_t vcpu = 0; vcpu < chosen.size(); ++vcpu) {
        const auto pu = chosen[vcpu];
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = 0,
                              .virtual_node = nodes.of_vcpu[vcpu],
                              .pus = {host.pus[pu].os_index},
                              .reason = reason_for_vcpu(plan.policy, host, usable, pu, load[pu], lying)});
    }
    const auto [least, most] = std::minmax_element(
        load.begin(), load.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    plan.min_vcpus_per_pu = least->second;
    plan.max_vcpus_per_pu = most->second;
}

// `shown`: the PUs that the guest is shown to run on, by vCPU; where it is told the truth, those chosen.
void choose_shape(Plan& plan, const std::optional<Shape>& given, const Indexes& shown, const Host& host) {
    std::vector<VcpuHome> homes;
    for (const auto& vcpu : plan.vcpus) {
        VcpuHome home{.virtual_node = vcpu.virtual_node};
        if (!shown.empty()) {
            const auto& pu = host.pus[shown[vcpu.vcpu]];
            home.package = pu.package;
            home.core = pu.core;
            home.pu = pu.os_index;
        }
        homes.push_back(home);
    }
    const bool pinned = !shown.empty();
    if (given) {
        plan.shape = *given;
        plan.notes.push_back(fmt::format("shape {}: as given", format_shape(plan.shape)));
        for (auto& note : broken_promises(plan.shape, homes, pinned))
            plan.notes.push_back(std::move(note));
    } else {
        auto choice = derive_shape(homes, pinned);
        plan.shape = choice.shape;
        plan.notes.push_back(fmt::format("shape {}: {}", format_shape(plan.shape), choice.reason));
    }
    for (auto& vcpu : plan.vcpus)
        vcpu.apic_id = apic_id_of(plan.shape, vcpu.vcpu);
}

// By vCPU: an index into host.pus.
Result<Indexes> choose(const PlanRequest& request, const Host& host, const UsableHost& usable) {
    if (request.policy.kind != Policy::traffic)
        return choose_pus(request.policy, request.vcpus, request.shape ? request.shape->threads : 0, host,
                          usable);
    const auto traffic = traffic_of(request.policy.matrix, request.vcpus);
    if (!traffic)
        return tl::unexpected{traffic.error()};
    auto chosen = mapping::map(mapping::make_problem(*traffic, host, usable)).pus;
    for (auto& pu : chosen)
        pu = usable.pus[pu];
    return chosen;
}

std::string note_on_lie(const Indexes& chosen, const Indexes& shown) {
    std::size_t false_ones = 0;
    for (std::size_t vcpu = 0; vcpu < chosen.size(); ++vcpu)
        false_ones += chosen[vcpu] != shown[vcpu] ? 1U : 0U;
    return false_ones == 0
               ? std::string{"topology lying: true here, since by turns these PUs come in the host's order"}
               : fmt::format(
                     "topology lying: {} of {} vCPUs run on another PU than the one that the guest is "
                     "shown",
                     false_ones, chosen.size());
}

Status check_same(const PlanRequest& request, const PlanFile& file) {
    const auto refuse = [&](std::string found) -> Status {
        return fail(ErrorKind::bad_input, fmt::format("plan file {}", request.policy.path), std::move(found),
                    "leave that to the file, or edit it");
    };
    if (request.vcpus != file.vcpus())
        return refuse(fmt::format("it places {} vCPUs, asked were {}", file.vcpus(), request.vcpus));
    if (request.memory_bytes != file.memory_bytes())
        return refuse(fmt::format("it places {} of memory, asked were {}", format_size(file.memory_bytes()),
                                  format_size(request.memory_bytes)));
    if (request.page_size != file.page_size)
        return refuse(fmt::format("its pages are {}, asked were {}", to_string(file.page_size),
                                  to_string(request.page_size)));
    return {};
}

void count_loads(Plan& plan) {
    std::map<std::uint32_t, std::uint32_t> load;
    for (const auto& vcpu : plan.vcpus)
        if (vcpu.pus.size() == 1)
            ++load[vcpu.pus.front()];
    for (const auto& [pu, count] : load) {
        plan.min_vcpus_per_pu = plan.min_vcpus_per_pu == 0 ? count : std::min(plan.min_vcpus_per_pu, count);
        plan.max_vcpus_per_pu = std::max(plan.max_vcpus_per_pu, count);
    }
}

// The file was checked against this host. Returns each vCPU's PU as an index into host.pus; none at all where
// one vCPU may run on several, since nothing is known of what it shares then.
Indexes place_as_written(Plan& plan, const PlanFile& file, const Host& host) {
    std::map<std::uint32_t, std::uint32_t> pu_index, node_index; // by os index
    for (std::uint32_t i = 0; i < host.pus.size(); ++i)
        pu_index[host.pus[i].os_index] = i;
    for (std::uint32_t i = 0; i < host.nodes.size(); ++i)
        node_index[host.nodes[i].os_index] = i;
    for (std::uint32_t i = 0; i < file.nodes.size(); ++i) {
        plan.nodes.push_back({.virtual_node = i,
                              .host_node = file.nodes[i].host_node,
                              .memory_bytes = file.nodes[i].memory_bytes,
                              .reason = "as the plan file says"});
        auto& row = plan.distances.emplace_back();
        for (std::uint32_t j = 0; j < file.nodes.size(); ++j) {
            const auto from = file.nodes[i].host_node, to = file.nodes[j].host_node;
            const auto apart = from && to && *from != *to
                                   ? distance_between(host, node_index[*from], node_index[*to])
                                   : remote_distance;
            row.push_back(i == j ? local_distance : apart);
        }
    }
    Indexes chosen;
    for (std::uint32_t vcpu = 0; vcpu < file.vcpus(); ++vcpu) {
        const auto& place = file.places[vcpu];
        plan.vcpus.push_back(
            {.vcpu = vcpu,
             .apic_id = 0,
             .virtual_node = place.node,
             .pus = place.pus,
             .reason = place.pus.empty() ? "not pinned, as the plan file says" : "as the plan file says"});
        if (place.pus.size() == 1)
            chosen.push_back(pu_index[place.pus.front()]);
    }
    if (chosen.size() != file.places.size())
        chosen.clear();
    count_loads(plan);
    return chosen;
}

} // namespace

std::uint64_t Plan::memory_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& node : nodes)
        sum += node.memory_bytes;
    return sum;
}

Result<Plan> plan(const PlanRequest& request, const Host& host) {
    if (auto checked = check_request(request); !checked)
        return tl::unexpected{checked.error()};
    const auto usable = usable_part(host);
    if (!usable)
        return tl::unexpected{usable.error()};
    const auto bytes = round_up(request.memory_bytes, bytes_of(request.page_size));
    if (request.policy.kind != Policy::file)
        if (auto checked = check_total(bytes, request.page_size, host); !checked)
            return tl::unexpected{checked.error()};

    std::vector<std::string> more_notes;
    Indexes shown; // by vCPU, as `chosen`: what the guest is to believe
    Plan result;
    result.policy = request.policy;
    result.page_size = request.page_size;
    Indexes chosen;
    auto shape = request.shape;
    if (request.policy.kind == Policy::none) {
        place_unbound(result, request.vcpus, bytes);
    } else if (request.policy.kind == Policy::file) {
        const auto* const file = request.policy.plan_file.get();
        if (file == nullptr)
            return fail(ErrorKind::bad_input, to_string(request.policy), "the file was not read");
        for (const auto& checked : {check_same(request, *file), check_plan_file(*file, host),
                                    check_total(bytes, request.page_size, host, AskedBy::plan_file)})
            if (!checked)
                return tl::unexpected{checked.error()};
        chosen = place_as_written(result, *file, host);
        shown = chosen;
        shape = shape ? shape : file->shape;
    } else {
        auto picked = choose(request, host, *usable);
        if (!picked)
            return tl::unexpected{picked.error()};
        chosen = std::move(*picked);
        shown = chosen;
        if (request.lying) {
            std::sort(shown.begin(), shown.end());
            chosen = dealt_by_turns(shown, host, *usable);
            more_notes.push_back(note_on_lie(chosen, shown));
        }
        Indexes homes;
        for (const auto pu : shown)
            homes.push_back(usable->home[pu]);
        const auto nodes = number_nodes(homes, bytes / bytes_of(request.page_size), host);
        if (auto checked = place_memory(result, bytes, nodes, host, request.lying); !checked)
            return tl::unexpected{checked.error()};
        place_vcpus(result, chosen, nodes, host, *usable, request.lying);
        if (nodes.fewer_than_touched)
            more_notes.push_back(fmt::format("no more virtual nodes than pages of {} to put into them",
                                             to_string(result.page_size)));
    }
    result.notes = notes_on(result, host, *usable);
    result.notes.insert(result.notes.end(), more_notes.begin(), more_notes.end());
    choose_shape(result, shape, shown, host);
    return result;
}

} // namespace nestbed::topology
