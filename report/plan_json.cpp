#include "report/plan_json.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "topology/number_list.hpp"

namespace nestbed::report {

namespace {

constexpr std::size_t most_vcpus = 65'536;
constexpr std::size_t most_nodes = 1024; // as topology::discover() has it
constexpr std::size_t most_pus = 16'384;
constexpr std::uint32_t largest_os_index = 1'048'575;
constexpr std::size_t most_notes = 100'000;

std::vector<std::uint32_t> read_ranges(const Field& field, std::size_t most) {
    const auto text = field.text();
    if (text.empty())
        return {};
    if (auto numbers = topology::parse_number_list(text, largest_os_index, most))
        return *std::move(numbers);
    field.object("numbers as Linux lists CPUs");
    return {};
}

std::vector<std::vector<std::uint32_t>> read_distances(const Field& field, std::size_t nodes) {
    std::vector<std::vector<std::uint32_t>> distances;
    for (const auto& row : field.elements(nodes)) {
        distances.push_back(row.small_counts(nodes));
        if (distances.back().size() != nodes)
            row.object(fmt::format("{} distances", nodes));
    }
    if (distances.size() != nodes)
        field.object(fmt::format("{} rows", nodes));
    return distances;
}

std::vector<topology::NodePlacement> read_nodes(const Field& field) {
    std::vector<topology::NodePlacement> nodes;
    for (const auto& element : field.elements(most_nodes)) {
        topology::NodePlacement node;
        const auto number = element.member("virtual_node");
        node.virtual_node = number.small_count(most_nodes - 1);
        if (node.virtual_node != nodes.size())
            number.object("the nodes in their order");
        if (const auto host_node = element.member("host_node"); !host_node.is_null())
            node.host_node = host_node.small_count(largest_os_index);
        node.memory_bytes = element.member("memory_bytes").count();
        node.reason = element.member("reason").text();
        nodes.push_back(std::move(node));
    }
    if (nodes.empty())
        field.object("at least one node");
    return nodes;
}

std::vector<topology::VcpuPlacement> read_vcpus(const Field& field, std::size_t nodes) {
    const auto numbers = field.member("vcpu").small_counts(most_vcpus);
    const auto apic_ids = field.member("apic_id").small_counts(most_vcpus);
    const auto virtual_nodes = field.member("virtual_node").small_counts(most_vcpus);
    const auto pus = field.member("pus").elements(most_vcpus);
    if (apic_ids.size() != numbers.size() || virtual_nodes.size() != numbers.size() ||
        pus.size() != numbers.size()) {
        field.object("columns of one length", fmt::format("{}, {}, {} and {} elements", numbers.size(),
                                                          apic_ids.size(), virtual_nodes.size(), pus.size()));
        return {};
    }
    std::vector<topology::VcpuPlacement> vcpus;
    // A thousand vCPUs that may run on any of 16384 PUs are nothing; 65536 would be a gigabyte.
    std::size_t places_left = 64 * most_vcpus;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        topology::VcpuPlacement vcpu;
        vcpu.vcpu = numbers[i];
        vcpu.apic_id = apic_ids[i];
        vcpu.virtual_node = virtual_nodes[i];
        vcpu.pus = read_ranges(pus[i], std::min(most_pus, places_left));
        places_left -= vcpu.pus.size();
        if (vcpu.vcpu != i)
            field.object("the vCPUs in their order", fmt::format("vCPU {} at {}", vcpu.vcpu, i));
        if (vcpu.virtual_node >= nodes)
            field.object(fmt::format("a virtual node below {}", nodes), fmt::format("{}", vcpu.virtual_node));
        vcpus.push_back(std::move(vcpu));
    }
    return vcpus;
}

void read_reasons(const Field& field, std::vector<topology::VcpuPlacement>& vcpus) {
    auto left = vcpus.size(); // each has one reason
    for (const auto& group : field.elements(most_vcpus)) {
        const auto numbers = group.member("vcpus");
        const auto reason = group.member("reason").text();
        const auto members = read_ranges(numbers, left);
        left -= members.size();
        for (const auto vcpu : members) {
            if (vcpu < vcpus.size())
                vcpus[vcpu].reason = reason;
            else
                numbers.object(fmt::format("vCPUs below {}", vcpus.size()));
        }
    }
}

topology::Node read_node(const Field& field) {
    topology::Node node;
    node.os_index = field.member("os_index").small_count(largest_os_index);
    node.memory_bytes = field.member("memory_bytes").count();
    node.free_bytes = field.member("free_bytes").count();
    node.allowed = field.member("allowed").truth();
    node.has_pus = field.member("has_pus").truth();
    for (const auto& pool : field.member("huge_pages").elements(64))
        node.huge_pages.push_back({.page_bytes = pool.member("page_bytes").count(),
                                   .total = pool.member("total").count(),
                                   .free = pool.member("free").count()});
    return node;
}

} // namespace

topology::Shape read_shape(const Field& field) {
    const auto at_least_one = [&](const char* name) {
        const auto member = field.member(name);
        const auto count = member.small_count(1'048'576);
        if (count == 0)
            member.object("1 or more");
        return std::max(count, 1U);
    };
    return {.sockets = at_least_one("sockets"),
            .dies = at_least_one("dies"),
            .cores = at_least_one("cores"),
            .threads = at_least_one("threads")};
}

topology::PageSize read_page_size(const Field& field) {
    if (const auto size = topology::parse_page_size(field.text()))
        return *size;
    field.object("a page size");
    return topology::PageSize::base;
}

topology::Plan read_plan(const Field& field) {
    topology::Plan plan;
    const auto policy = field.member("policy");
    if (auto parsed = topology::parse_policy(policy.text()))
        plan.policy = *std::move(parsed);
    else
        policy.object("a policy");
    plan.page_size = read_page_size(field.member("page_size"));
    plan.shape = read_shape(field.member("shape"));
    plan.min_vcpus_per_pu = field.member("min_vcpus_per_pu").small_count();
    plan.max_vcpus_per_pu = field.member("max_vcpus_per_pu").small_count();
    plan.nodes = read_nodes(field.member("nodes"));
    plan.vcpus = read_vcpus(field.member("vcpus"), plan.nodes.size());
    read_reasons(field.member("reasons"), plan.vcpus);
    plan.distances = read_distances(field.member("distances"), plan.nodes.size());
    plan.notes = field.member("notes").texts(most_notes);
    return plan;
}

topology::Host read_host_topology(const Field& field) {
    topology::Host host;
    host.source = field.member("source").text();
    host.packages = field.member("packages").small_count();
    host.llcs = field.member("llcs").small_count();
    host.cores = field.member("cores").small_count();
    for (const auto& node : field.member("nodes").elements(most_nodes))
        host.nodes.push_back(read_node(node));
    host.distances = read_distances(field.member("distances"), host.nodes.size());
    return host;
}

} // namespace nestbed::report
