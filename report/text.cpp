#include "report/text.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "base/units.hpp"

namespace nestbed::report {

namespace {

using Numbers = std::vector<std::uint32_t>;

constexpr std::size_t width = 100;
constexpr std::size_t most_rows = 16;     // of a table
constexpr std::size_t most_reasons = 6;   // groups, and notes as well
constexpr std::size_t most_own_rows = 16; // PU sets; with more of them they are shown by host node

std::string plural(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// Breaks at blanks; the first line begins with `head`, the others with as many blanks.
std::string wrap(std::string_view head, std::string_view text) {
    const auto indent = head.size();
    std::string lines{head};
    auto column = indent;
    while (!text.empty()) {
        const auto word = text.substr(0, text.find_first_of(" \n"));
        text.remove_prefix(std::min(word.size() + 1, text.size()));
        if (column > indent && column + 1 + word.size() > width) {
            lines += '\n' + std::string(indent, ' ');
            column = indent;
        } else if (column > indent) {
            lines += ' ';
            ++column;
        }
        lines += word;
        column += word.size();
    }
    return lines + '\n';
}

// Rows of vCPUs that share their PUs, and later of vCPUs that share a host node.
struct Row {
    std::string where; // "PU 3", "PUs 0-15", "node 1"
    Numbers pus;
    Numbers vcpus;
};

std::string name_of(const Numbers& pus) {
    if (pus.empty())
        return "any PU";
    return fmt::format("{} {}", pus.size() == 1 ? "PU" : "PUs", format_ranges_within(pus, 28));
}

std::vector<Row> rows_by_pu_set(const topology::Plan& plan) {
    std::map<Numbers, Numbers> vcpus_of;
    for (const auto& placement : plan.vcpus)
        vcpus_of[placement.pus].push_back(placement.vcpu);
    std::vector<Row> rows;
    for (auto& [pus, vcpus] : vcpus_of)
        rows.push_back({.where = name_of(pus), .pus = pus, .vcpus = std::move(vcpus)});
    return rows;
}

// os index of the node that all these PUs are nearest to.
std::optional<std::uint32_t> node_of(const Numbers& pus,
                                     const std::map<std::uint32_t, std::uint32_t>& node_of_pu) {
    std::optional<std::uint32_t> node;
    for (const auto pu : pus) {
        const auto found = node_of_pu.find(pu);
        if (found == node_of_pu.end() || (node && *node != found->second))
            return std::nullopt;
        node = found->second;
    }
    return node;
}

std::map<std::uint32_t, std::uint32_t> nodes_by_pu(const topology::Host& host) {
    std::map<std::uint32_t, std::uint32_t> nodes;
    for (const auto& pu : host.pus)
        if (pu.node && *pu.node < host.nodes.size())
            nodes[pu.os_index] = host.nodes[*pu.node].os_index;
    return nodes;
}

std::vector<Row> rows_by_node(const std::vector<Row>& rows, const topology::Host& host) {
    const auto node_of_pu = nodes_by_pu(host);
    std::map<std::optional<std::uint32_t>, Row> merged;
    for (const auto& row : rows) {
        const auto node = node_of(row.pus, node_of_pu);
        auto& into = merged[node];
        into.where = node ? fmt::format("node {}", *node) : "no single node";
        into.pus.insert(into.pus.end(), row.pus.begin(), row.pus.end());
        into.vcpus.insert(into.vcpus.end(), row.vcpus.begin(), row.vcpus.end());
    }
    std::vector<Row> result;
    for (auto& [node, row] : merged)
        result.push_back(std::move(row));
    return result;
}

// How many of `count` lines to show. One line too many is shown rather than replaced by "1 more".
std::size_t shown(std::size_t count, std::size_t most, Verbosity verbosity) {
    return verbosity == Verbosity::verbose || count <= most + 1 ? count : most;
}

std::string remainder_line(std::size_t count, std::size_t lines, std::string_view noun) {
    return lines < count ? fmt::format("  ... and {} more {}\n", count - lines, noun) : "";
}

std::string heading(const topology::Plan& plan, const topology::Host& host) {
    std::uint32_t highest = 0;
    for (const auto& placement : plan.vcpus)
        highest = std::max(highest, placement.apic_id);
    const auto allowed =
        std::count_if(host.pus.begin(), host.pus.end(), [](const auto& pu) { return pu.allowed; });
    auto text =
        wrap("Host   ", fmt::format("{}: {}, {}, {}, {}, {} of {} allowed", host.source,
                                    plural(host.packages, "package"), plural(host.nodes.size(), "node"),
                                    plural(host.llcs, "last-level cache"), plural(host.cores, "core"),
                                    allowed, plural(host.pus.size(), "PU")));
    text += wrap("Guest  ",
                 fmt::format("{}, topology {}, APIC ids up to {}, {} in {} pages",
                             plural(plan.vcpus.size(), "vCPU"), topology::format_shape(plan.shape), highest,
                             format_size(plan.memory_bytes()), topology::to_string(plan.page_size)));
    const auto load = plan.max_vcpus_per_pu == 0 ? std::string{"no vCPU is pinned"}
                      : plan.min_vcpus_per_pu == plan.max_vcpus_per_pu
                          ? fmt::format("{} on each PU used", plural(plan.max_vcpus_per_pu, "vCPU"))
                          : fmt::format("{} to {} on each PU used", plan.min_vcpus_per_pu,
                                        plural(plan.max_vcpus_per_pu, "vCPU"));
    return text + wrap("Policy ", fmt::format("{}: {}", topology::to_string(plan.policy), load));
}

std::string node_table(const topology::Plan& plan, Verbosity verbosity) {
    std::map<std::uint32_t, std::pair<Numbers, Numbers>> members; // vCPUs and PUs by virtual node
    for (const auto& placement : plan.vcpus) {
        auto& [vcpus, pus] = members[placement.virtual_node];
        vcpus.push_back(placement.vcpu);
        pus.insert(pus.end(), placement.pus.begin(), placement.pus.end());
    }
    auto text =
        fmt::format("\n  {:>5}  {:>5}  {:>10}  {:<34}  {}\n", "vnode", "host", "memory", "vCPUs", "PUs");
    const auto lines = shown(plan.nodes.size(), most_rows, verbosity);
    for (std::size_t i = 0; i < lines; ++i) {
        const auto& node = plan.nodes[i];
        const auto& [vcpus, pus] = members[node.virtual_node];
        text += fmt::format("  {:>5}  {:>5}  {:>10}  {:<34}  {}\n", node.virtual_node,
                            node.host_node ? std::to_string(*node.host_node) : "any",
                            format_size(node.memory_bytes),
                            vcpus.empty() ? "none" : format_ranges_within(vcpus, 34),
                            pus.empty() ? "any" : format_ranges_within(pus, 34));
    }
    return text + remainder_line(plan.nodes.size(), lines, "virtual nodes");
}

std::vector<Numbers> vcpu_sets(const std::vector<Row>& rows) {
    std::vector<Numbers> sets;
    for (const auto& row : rows) {
        sets.push_back(row.vcpus);
        std::sort(sets.back().begin(), sets.back().end());
    }
    std::sort(sets.begin(), sets.end());
    return sets;
}

bool same_as_virtual_nodes(const std::vector<Row>& rows, const topology::Plan& plan) {
    std::map<std::uint32_t, Row> by_virtual_node;
    for (const auto& placement : plan.vcpus)
        by_virtual_node[placement.virtual_node].vcpus.push_back(placement.vcpu);
    std::vector<Row> nodes;
    for (auto& [node, row] : by_virtual_node)
        nodes.push_back(std::move(row));
    return vcpu_sets(rows) == vcpu_sets(nodes);
}

std::string pu_table(const topology::Plan& plan, const topology::Host& host, Verbosity verbosity) {
    auto rows = rows_by_pu_set(plan);
    const bool by_node = verbosity == Verbosity::normal && rows.size() > most_own_rows;
    if (by_node)
        rows = rows_by_node(rows, host);
    if (by_node && same_as_virtual_nodes(rows, plan))
        return {}; // the table of virtual nodes has said it all
    std::string text = "\n";
    const auto lines = shown(rows.size(), most_rows, verbosity);
    for (std::size_t i = 0; i < lines; ++i) {
        const auto& row = rows[i];
        const auto where = by_node && !row.pus.empty()
                               ? fmt::format("{}, PUs {}", row.where, format_ranges_within(row.pus, 28))
                               : row.where;
        text += fmt::format("  {}: {} {} ({})\n", where, row.vcpus.size() == 1 ? "vCPU" : "vCPUs",
                            format_ranges_within(row.vcpus, 34), row.vcpus.size());
    }
    return text + remainder_line(rows.size(), lines, by_node ? "host nodes" : "PU sets");
}

std::string notes_text(const topology::Plan& plan, Verbosity verbosity) {
    if (plan.notes.empty())
        return {};
    std::string text = "\nNotes\n";
    const auto lines = shown(plan.notes.size(), most_reasons, verbosity);
    for (std::size_t i = 0; i < lines; ++i)
        text += wrap("  - ", plan.notes[i]);
    return text + remainder_line(plan.notes.size(), lines, "notes");
}

using Reasons = std::vector<std::pair<std::string, Numbers>>;

template<typename Placements, typename Index>
Reasons grouped(const Placements& placements, Index index) {
    Reasons groups;
    std::map<std::string, std::size_t> at;
    for (const auto& placement : placements) {
        if (placement.reason.empty())
            continue;
        const auto [entry, is_new] = at.try_emplace(placement.reason, groups.size());
        if (is_new)
            groups.emplace_back(placement.reason, Numbers{});
        groups[entry->second].second.push_back(index(placement));
    }
    return groups;
}

std::string reasons_text(const Reasons& reasons, std::string_view one, std::string_view several,
                         Verbosity verbosity) {
    if (reasons.empty())
        return {};
    auto text = fmt::format("\nWhy these {}\n", several);
    const auto lines = shown(reasons.size(), most_reasons, verbosity);
    for (std::size_t i = 0; i < lines; ++i) {
        const auto& [reason, members] = reasons[i];
        text += wrap("  - ", fmt::format("{} {}: {}", members.size() == 1 ? one : several,
                                         format_ranges_within(members, 40), reason));
    }
    return text + remainder_line(reasons.size(), lines, "reasons");
}

std::string vcpu_table(const topology::Plan& plan) {
    auto text = fmt::format("\n  {:>6}  {:>7}  {:>5}  {}\n", "vCPU", "APIC id", "vnode", "PUs");
    for (const auto& placement : plan.vcpus)
        text += fmt::format("  {:>6}  {:>7}  {:>5}  {}\n", placement.vcpu, placement.apic_id,
                            placement.virtual_node,
                            placement.pus.empty() ? "any" : format_ranges_within(placement.pus, 70));
    return text;
}

} // namespace

std::string format_plan(const topology::Plan& plan, const topology::Host& host, Verbosity verbosity) {
    auto text = heading(plan, host) + node_table(plan, verbosity) + pu_table(plan, host, verbosity) +
                notes_text(plan, verbosity) +
                reasons_text(grouped(plan.nodes, [](const auto& node) { return node.virtual_node; }),
                             "virtual node", "virtual nodes", verbosity) +
                reasons_text(grouped(plan.vcpus, [](const auto& placement) { return placement.vcpu; }),
                             "vCPU", "vCPUs", verbosity);
    if (verbosity == Verbosity::verbose)
        text += vcpu_table(plan);
    return text;
}

} // namespace nestbed::report
