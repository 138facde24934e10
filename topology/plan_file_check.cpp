#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/memory_split.hpp"
#include "topology/placement.hpp"
#include "topology/plan_file.hpp"

namespace nestbed::topology {

namespace {

tl::unexpected<Error> refuse(ErrorKind kind, std::string where, std::string why, std::string remedy = {}) {
    return fail(kind, fmt::format("plan file: {}", where), std::move(why), std::move(remedy));
}

Status check_nodes(const PlanFile& file, const Host& host) {
    std::map<std::uint32_t, std::uint32_t> index_of;
    bool memory_is_known = false;
    for (std::uint32_t i = 0; i < host.nodes.size(); ++i) {
        index_of[host.nodes[i].os_index] = i;
        memory_is_known = memory_is_known || host.nodes[i].memory_bytes > 0;
    }
    std::map<std::uint32_t, NodeShare> shares_of; // by host node
    for (std::size_t i = 0; i < file.nodes.size(); ++i) {
        const auto& node = file.nodes[i];
        const auto where = fmt::format("node {}", i);
        if (node.memory_bytes % bytes_of(file.page_size) != 0)
            return refuse(ErrorKind::bad_input, where,
                          fmt::format("{} bytes are no whole pages of {}", node.memory_bytes,
                                      to_string(file.page_size)));
        if (!node.host_node)
            continue;
        const auto at = index_of.find(*node.host_node);
        if (at == index_of.end())
            return refuse(ErrorKind::bad_input, where,
                          fmt::format("host node {} is not there", *node.host_node),
                          "`nestbed plan --json` lists the host's nodes by os_index");
        if (!is_usable(host.nodes[at->second], memory_is_known))
            return refuse(ErrorKind::host_lacks, where,
                          fmt::format("host node {} {}", *node.host_node,
                                      host.nodes[at->second].allowed ? "has no memory"
                                                                     : "is not allowed to this process"));
        auto& share = shares_of[at->second];
        share.node = at->second;
        share.bytes += node.memory_bytes;
        share.in_file += share.in_file.empty() ? where : fmt::format(" and {}", where);
    }
    std::vector<NodeShare> shares;
    for (auto& [node, share] : shares_of)
        shares.push_back(std::move(share));
    return check_shares(shares, file.page_size, host);
}

Status check_vcpus(const PlanFile& file, const Host& host) {
    std::map<std::uint32_t, bool> is_allowed; // by os index
    for (const auto& pu : host.pus)
        is_allowed[pu.os_index] = pu.allowed;
    for (std::uint32_t vcpu = 0; vcpu < file.vcpus(); ++vcpu)
        for (const auto pu : file.places[vcpu].pus) {
            const auto where = fmt::format("vCPU {}", vcpu);
            const auto at = is_allowed.find(pu);
            const bool is_offline =
                std::find(host.offline_pus.begin(), host.offline_pus.end(), pu) != host.offline_pus.end();
            if (at == is_allowed.end())
                return is_offline
                           ? refuse(ErrorKind::host_lacks, where, fmt::format("PU {} is offline", pu),
                                    fmt::format("echo 1 | sudo tee "
                                                "/sys/devices/system/cpu/cpu{}/online",
                                                pu))
                           : refuse(ErrorKind::bad_input, where,
                                    fmt::format("PU {} is not there, the host has {}", pu, host.pus.size()));
            if (!at->second)
                return refuse(ErrorKind::host_lacks, where,
                              fmt::format("PU {} is not allowed to this process", pu),
                              "widen the cpuset (taskset -p, or the cgroup's cpuset.cpus)");
        }
    return {};
}

} // namespace

Status check_plan_file(const PlanFile& file, const Host& host) {
    std::vector<bool> has_vcpus(file.nodes.size(), false);
    for (const auto& place : file.places)
        has_vcpus[place.node] = true;
    for (std::size_t i = 0; i < has_vcpus.size(); ++i)
        if (!has_vcpus[i])
            return refuse(ErrorKind::bad_input, fmt::format("node {}", i), "no vCPU is in it",
                          "put one into it, or leave the node out");
    if (auto checked = check_nodes(file, host); !checked)
        return checked;
    return check_vcpus(file, host);
}

} // namespace nestbed::topology
