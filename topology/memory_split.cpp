#include "topology/memory_split.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/apportion.hpp"

namespace nestbed::topology {

namespace {

bool is_huge(PageSize size) {
    return size == PageSize::huge_2m || size == PageSize::huge_1g;
}

HugePagePool pool_of(const Node& node, std::uint64_t page_bytes) {
    for (const auto& pool : node.huge_pages)
        if (pool.page_bytes == page_bytes)
            return pool;
    return {.page_bytes = page_bytes};
}

// "2048M": what parse_size() reads back, rounded down.
std::string as_argument(std::uint64_t bytes) {
    return bytes >= MiB ? fmt::format("{}M", bytes / MiB) : fmt::format("{}K", bytes / KiB);
}

std::string reserve_command(std::string_view directory, std::uint64_t page_bytes, std::uint64_t pages) {
    return fmt::format("echo {} | sudo tee {}/hugepages/hugepages-{}kB/nr_hugepages", pages, directory,
                       page_bytes / KiB);
}

std::string no_such_pages(std::uint64_t page_bytes) {
    return fmt::format("this host's kernel has no pages of {}", format_size(page_bytes));
}

// A pool that grew by the lacking pages suffices.
std::uint64_t pool_size_for(const HugePagePool& pool, std::uint64_t needed) {
    return pool.total + (needed - pool.free);
}

// What a node has for pages of this size; what is not taken from a pool has to be free.
std::uint64_t available_from(const Node& node, PageSize page_size) {
    const auto bytes = is_huge(page_size) ? node.memory_bytes : std::min(node.free_bytes, node.memory_bytes);
    return bytes - bytes % bytes_of(page_size);
}

std::uint64_t granule_of(std::uint64_t bytes, PageSize page_size, std::size_t shares) {
    constexpr std::uint64_t thp_bytes = 2 * MiB;
    return page_size == PageSize::thp && bytes / thp_bytes >= shares ? thp_bytes : bytes_of(page_size);
}

// The most that split_memory() can divide with no share above what its node has.
std::uint64_t largest_total(const std::vector<NodeShare>& shares, PageSize page_size, const Host& host) {
    constexpr std::uint64_t most_bytes = std::uint64_t{1} << 52; // of any guest; products stay below 2^64
    std::uint64_t total = 0, weights = 0;
    for (const auto& share : shares) {
        total += share.bytes;
        weights += share.weight;
    }
    const auto granule = granule_of(total, page_size, shares.size());
    auto pages = total / granule;
    for (const auto& share : shares) {
        const auto available =
            std::min(available_from(host.nodes[share.node], page_size), most_bytes) / granule;
        pages = std::min(pages, available * weights / std::max<std::uint64_t>(share.weight, 1));
    }
    return pages * granule;
}

std::string ask_for_less(const NodeShare& share, const std::vector<NodeShare>& shares, PageSize page_size,
                         const Host& host) {
    if (!share.in_file.empty())
        return fmt::format("give {} less memory in the plan file: {} or less", share.in_file,
                           as_argument(available_from(host.nodes[share.node], page_size)));
    const auto total = largest_total(shares, page_size, host);
    return total == 0 ? "use smaller pages, or another --policy"
                      : fmt::format("use --memory {} or less, or another --policy", as_argument(total));
}

Status check_share(const NodeShare& share, const std::vector<NodeShare>& shares, PageSize page_size,
                   const Host& host) {
    const auto& node = host.nodes[share.node];
    if (share.bytes <= available_from(node, page_size))
        return {};
    return fail(
        ErrorKind::host_lacks, fmt::format("{} from host node {}", format_size(share.bytes), node.os_index),
        fmt::format("it has {}, {} of it free", format_size(node.memory_bytes), format_size(node.free_bytes)),
        ask_for_less(share, shares, page_size, host));
}

Status check_pools(const std::vector<NodeShare>& shares, std::uint64_t page_bytes, const Host& host) {
    std::string lacking, commands;
    for (const auto& share : shares) {
        const auto& node = host.nodes[share.node];
        const auto pool = pool_of(node, page_bytes);
        const auto needed = share.bytes / page_bytes;
        if (needed <= pool.free)
            continue;
        lacking += fmt::format("{}node {} has {} free of {}, {} needed", lacking.empty() ? "" : ", ",
                               node.os_index, pool.free, pool.total, needed);
        commands += commands.empty() ? "" : " && ";
        commands += reserve_command(fmt::format("/sys/devices/system/node/node{}", node.os_index), page_bytes,
                                    pool_size_for(pool, needed));
    }
    if (lacking.empty())
        return {};
    return fail(ErrorKind::host_lacks, fmt::format("huge pages of {}", format_size(page_bytes)),
                std::move(lacking), std::move(commands));
}

} // namespace

std::vector<std::uint64_t> split_memory(std::uint64_t bytes, PageSize page_size,
                                        const std::vector<std::uint64_t>& weights) {
    const auto granule = granule_of(bytes, page_size, weights.size());
    // Each has one before the rest is divided: a virtual node without memory is none.
    auto shares = apportion(bytes / granule, weights);
    for (auto& share : shares)
        if (share == 0) {
            --*std::max_element(shares.begin(), shares.end());
            share = 1;
        }
    for (auto& share : shares)
        share *= granule;
    shares.back() += bytes % granule;
    return shares;
}

bool pages_are_known(PageSize page_size, const Host& host) {
    return !is_huge(page_size) || host.is_this_host ||
           std::any_of(host.nodes.begin(), host.nodes.end(), [&](const Node& node) {
               return std::any_of(
                   node.huge_pages.begin(), node.huge_pages.end(),
                   [&](const HugePagePool& pool) { return pool.page_bytes == bytes_of(page_size); });
           });
}

Status check_total(std::uint64_t bytes, PageSize page_size, const Host& host, AskedBy asked_by) {
    std::uint64_t memory = 0, free = 0, available = 0;
    HugePagePool pool{.page_bytes = bytes_of(page_size)};
    bool has_pool = false;
    std::size_t nodes = 0;
    for (const auto& node : host.nodes) {
        if (!node.allowed)
            continue;
        ++nodes;
        memory += node.memory_bytes;
        free += std::min(node.free_bytes, node.memory_bytes);
        available += available_from(node, page_size);
        const auto part = pool_of(node, pool.page_bytes);
        pool.total += part.total;
        pool.free += part.free;
        has_pool =
            has_pool || std::any_of(node.huge_pages.begin(), node.huge_pages.end(),
                                    [&](const auto& each) { return each.page_bytes == pool.page_bytes; });
    }
    const bool from_pool = is_huge(page_size);
    const auto asked = fmt::format("{} of memory", format_size(bytes));
    if (memory > 0 && bytes > available)
        return fail(ErrorKind::host_lacks, asked,
                    fmt::format("the host has {} in {} node{}, {} of it free", format_size(memory), nodes,
                                nodes == 1 ? "" : "s", format_size(free)),
                    available == 0 ? "use smaller pages"
                    : asked_by == AskedBy::options
                        ? fmt::format("use --memory {} or less", as_argument(available))
                        : fmt::format("give the nodes less memory in the plan file: {} or less together",
                                      as_argument(available)));
    if (!from_pool || !pages_are_known(page_size, host))
        return {};
    if (!has_pool)
        return fail(ErrorKind::host_lacks, asked, no_such_pages(pool.page_bytes), "choose another page size");
    if (const auto needed = bytes / pool.page_bytes; needed > pool.free)
        return fail(ErrorKind::host_lacks, fmt::format("huge pages of {}", format_size(pool.page_bytes)),
                    fmt::format("the host has {} free of {}, {} needed", pool.free, pool.total, needed),
                    // The kernel spreads these over the nodes.
                    reserve_command("/sys/kernel/mm", pool.page_bytes, pool_size_for(pool, needed)));
    return {};
}

Status check_shares(const std::vector<NodeShare>& shares, PageSize page_size, const Host& host) {
    bool memory_is_known = false;
    for (const auto& node : host.nodes)
        memory_is_known = memory_is_known || node.memory_bytes > 0;
    if (memory_is_known)
        for (const auto& share : shares)
            if (auto checked = check_share(share, shares, page_size, host); !checked)
                return checked;
    if (!is_huge(page_size) || !pages_are_known(page_size, host))
        return {};
    return check_pools(shares, bytes_of(page_size), host);
}

} // namespace nestbed::topology
