// How the guest's memory is divided over host nodes, and whether they have it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

// Who says how much memory there is, and can ask for less.
enum class AskedBy { options, plan_file };

// What one host node is to give.
struct NodeShare {
    std::uint32_t node = 0; // index into host.nodes
    std::uint64_t bytes = 0;
    std::uint64_t weight = 0; // as split_memory() had it
    std::string in_file{};    // "node 0" where a plan file gives the bytes: who has them there
};

// Bytes by `weights` (vCPUs of each virtual node), each a multiple of the page; they sum up to `bytes`, which
// is one too. With PageSize::thp boundaries lie on 2 MiB where there is enough to divide, so that no huge
// page is lost to them. `bytes` is at least a page for each weight, and then so is every share.
[[nodiscard]] std::vector<std::uint64_t> split_memory(std::uint64_t bytes, PageSize page_size,
                                                      const std::vector<std::uint64_t>& weights);

// Errors: host_lacks where the allowed nodes together have less than `bytes`, in total or (this host) free,
// or lack the huge pages.
[[nodiscard]] Status check_total(std::uint64_t bytes, PageSize page_size, const Host& host,
                                 AskedBy asked_by = AskedBy::options);

// Errors: host_lacks naming the node that has less than its share, its free memory and what to do, or all
// nodes that lack huge pages with the one command that reserves them.
[[nodiscard]] Status check_shares(const std::vector<NodeShare>& shares, PageSize page_size, const Host& host);

// Whether the host's description tells of pools of this page size; base pages need none.
[[nodiscard]] bool pages_are_known(PageSize page_size, const Host& host);

} // namespace nestbed::topology
