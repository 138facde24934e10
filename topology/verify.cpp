#include "topology/verify.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <span>

#include <numaif.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "base/units.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/proc_text.hpp"
#include "topology/text_file.hpp"

namespace nestbed::topology {

namespace {

// Where move_pages() is not to be had and there is one node only: mincore() tells which pages are present.
Status count_on_only_node(ObservedMemory& seen, const std::vector<void*>& pages, std::size_t page_bytes,
                          std::uint32_t node) {
    const auto base = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    for (void* const page : pages) {
        unsigned char present = 0;
        if (::mincore(page, std::min(base, page_bytes), &present) != 0 && errno != ENOMEM)
            return fail_errno(ErrorKind::host_lacks, "see whether a page is present (mincore)");
        ++seen.pages[(present & 1U) != 0 ? static_cast<int>(node) : -ENOENT];
    }
    return {};
}

Status ask_kernel(ObservedMemory& seen, std::vector<void*>& pages, std::size_t page_bytes, pid_t process) {
    std::vector<int> status(pages.size(), -ENOENT);
    if (::move_pages(process, pages.size(), pages.data(), nullptr, status.data(), 0) == 0) {
        for (const int each : status)
            ++seen.pages[each];
        return {};
    }
    const int number = errno;
    if ((number == ENOSYS || number == EPERM) && is_only_memory_node(0)) {
        if (process == 0)
            return count_on_only_node(seen, pages, page_bytes, 0);
        seen.pages[0] += pages.size(); // there is nowhere else
        return {};
    }
    return fail(ErrorKind::host_lacks, "see on which nodes pages are (move_pages)", errno_text(number),
                number == EPERM ? "in a container, allow it with --cap-add SYS_NICE" : "");
}

std::string may_run_on(std::span<const std::uint32_t> pus) {
    if (pus.empty())
        return "no PU";
    return fmt::format("PU{} {}", pus.size() == 1 ? "" : "s", format_ranges(pus));
}

void compare_thread(std::vector<Drift>& drifts, const VcpuPlacement& planned, const ObservedThread& seen) {
    if (planned.pus.empty())
        return;
    auto pus = planned.pus;
    std::sort(pus.begin(), pus.end());
    if (seen.affinity != pus)
        drifts.push_back({.what = fmt::format("vCPU {}: affinity of its thread", planned.vcpu),
                          .planned = may_run_on(pus),
                          .found = may_run_on(seen.affinity)});
    if (seen.last_ran_on && !std::binary_search(pus.begin(), pus.end(), *seen.last_ran_on))
        drifts.push_back({.what = fmt::format("vCPU {}: where its thread ran last", planned.vcpu),
                          .planned = may_run_on(pus),
                          .found = fmt::format("PU {}", *seen.last_ran_on)});
}

std::string describe_page_state(int node) {
    if (node == -ENOENT)
        return "not present";
    return node < 0 ? errno_text(-node) : fmt::format("on host node {}", node);
}

void compare_memory(std::vector<Drift>& drifts, const NodePlacement& planned, const ObservedMemory& seen) {
    if (!planned.host_node)
        return;
    std::uint64_t told = 0;
    std::string elsewhere;
    for (const auto& [node, pages] : seen.pages) {
        told += pages;
        if (pages == 0 || (node >= 0 && static_cast<std::uint32_t>(node) == *planned.host_node))
            continue;
        elsewhere +=
            fmt::format("{}{} pages {}", elsewhere.empty() ? "" : ", ", pages, describe_page_state(node));
    }
    if (told < seen.pages_asked)
        elsewhere += fmt::format("{}{} pages of which nothing is known", elsewhere.empty() ? "" : ", ",
                                 seen.pages_asked - told);
    if (seen.pages_asked == 0 && planned.memory_bytes > 0)
        elsewhere = "no page was looked at";
    if (!elsewhere.empty())
        drifts.push_back({.what = fmt::format("virtual node {}: its memory", planned.virtual_node),
                          .planned = fmt::format("all pages looked at ({}) on host node {}", seen.pages_asked,
                                                 *planned.host_node),
                          .found = std::move(elsewhere)});
}

} // namespace

Result<ObservedThread> observe_thread(std::uint32_t vcpu, pid_t tid) {
    const auto asked = fmt::format("see where vCPU {}'s thread {} may run", vcpu, tid);
    auto affinity = read_affinity(tid);
    if (!affinity)
        return fail_errno(ErrorKind::check_failed, asked);
    ObservedThread seen{.vcpu = vcpu, .affinity = std::move(*affinity), .last_ran_on = std::nullopt};
    constexpr std::size_t enough = 4096;
    if (const auto stat = read_text_file(fmt::format("/proc/self/task/{}/stat", tid), enough))
        seen.last_ran_on = last_processor(*stat);
    return seen;
}

Result<ObservedMemory> observe_memory(std::uint32_t virtual_node, const std::byte* start, std::size_t bytes,
                                      std::size_t page_bytes, std::size_t max_pages, pid_t process) {
    if (page_bytes == 0)
        return fail(ErrorKind::check_failed, "see where pages are", "a page of 0 bytes");
    constexpr std::size_t chunk = 16384; // 128 KiB of addresses a call
    const std::size_t all = bytes / page_bytes + (bytes % page_bytes == 0 ? 0 : 1);
    const std::size_t asked = std::min(all, max_pages);
    ObservedMemory seen{.virtual_node = virtual_node, .pages = {}, .pages_asked = asked};
    // move_pages() takes void*, and moves nothing where no nodes are given.
    auto* const memory = const_cast<std::byte*>(start);
    std::vector<void*> pages;
    for (std::size_t i = 0; i < asked; ++i) {
        // i * all / asked without overflow: evenly spread, the first page included.
        const auto page = i * (all / asked) + i * (all % asked) / asked;
        pages.push_back(memory + page * page_bytes);
        if (pages.size() < chunk && i + 1 < asked)
            continue;
        if (auto answered = ask_kernel(seen, pages, page_bytes, process); !answered)
            return tl::unexpected{answered.error()};
        pages.clear();
    }
    return seen;
}

std::vector<Drift> compare(const Plan& plan, const Observation& observation) {
    std::vector<Drift> drifts;
    const auto missing = [&](std::string what) {
        drifts.push_back({.what = std::move(what), .planned = "to be observed", .found = "not observed"});
    };
    std::map<std::uint32_t, const ObservedThread*> threads;
    for (const auto& thread : observation.threads)
        threads[thread.vcpu] = &thread;
    for (const auto& vcpu : plan.vcpus) {
        const auto at = threads.find(vcpu.vcpu);
        if (at != threads.end())
            compare_thread(drifts, vcpu, *at->second);
        else if (!vcpu.pus.empty())
            missing(fmt::format("vCPU {}: its thread", vcpu.vcpu));
    }
    std::map<std::uint32_t, bool> is_seen;
    for (const auto& node : plan.nodes)
        is_seen[node.virtual_node] = !node.host_node || node.memory_bytes == 0;
    for (const auto& memory : observation.memory)
        for (const auto& node : plan.nodes)
            if (node.virtual_node == memory.virtual_node) {
                compare_memory(drifts, node, memory);
                is_seen[node.virtual_node] = true;
            }
    for (const auto& [node, seen] : is_seen)
        if (!seen)
            missing(fmt::format("virtual node {}: its memory", node));
    return drifts;
}

} // namespace nestbed::topology
