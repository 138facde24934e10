#include "core/machine/guest_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include <linux/mman.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/machine/process_limits.hpp"
#include "core/supervise/supervisor.hpp"
#include "topology/bind.hpp"

namespace nestbed::machine {

namespace {

constexpr std::uint64_t huge_page = 2 * MiB;

// A prefault thread below this size costs more than it saves.
constexpr std::uint64_t bytes_worth_a_thread = 64 * MiB;
constexpr std::size_t most_threads_per_node = 16;
constexpr std::size_t pages_worth_a_call = 16;

int map_flags(topology::PageSize size) {
    switch (size) {
    case topology::PageSize::huge_2m:
        return MAP_HUGETLB | MAP_HUGE_2MB;
    case topology::PageSize::huge_1g:
        return MAP_HUGETLB | MAP_HUGE_1GB;
    case topology::PageSize::base:
    case topology::PageSize::thp:
        return 0;
    }
    return 0;
}

// Maps a range so that a huge page of the host is one of the guest as well: KVM maps it as one only where the
// guest-physical and the host's address have the same offset into it. MAP_FAILED where it cannot be.
void* map_range(const boot::RamRange& range, topology::PageSize size) {
    const auto map = [](std::uint64_t bytes, int flags) {
        return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    };
    if (const auto flags = map_flags(size); flags != 0)
        return map(range.bytes, flags); // aligned by the kernel
    if (range.bytes < huge_page || range.bytes > std::numeric_limits<std::uint64_t>::max() - huge_page)
        return map(range.bytes, 0);
    auto* const all = map(range.bytes + huge_page, 0);
    if (all == MAP_FAILED)
        return all;
    auto* const first = static_cast<std::byte*>(all);
    const auto before = (range.address - reinterpret_cast<std::uintptr_t>(first)) % huge_page;
    if (before != 0)
        ::munmap(first, before);
    ::munmap(first + before + range.bytes, huge_page - before);
    return first + before;
}

// PUs of the vCPUs of one virtual node: where its memory is prefaulted from.
std::vector<std::uint32_t> pus_of_node(const topology::Plan& plan, std::uint32_t node) {
    std::set<std::uint32_t> pus;
    for (const auto& vcpu : plan.vcpus)
        if (vcpu.virtual_node == node)
            pus.insert(vcpu.pus.begin(), vcpu.pus.end());
    return {pus.begin(), pus.end()};
}

struct Chunk {
    std::byte* start = nullptr;
    std::size_t bytes = 0;
    std::vector<std::uint32_t> pus; // the thread may run on; empty: any
    Status status;
};

// A range in as many pieces as threads are worth it, split at page borders.
void add_chunks(std::vector<Chunk>& chunks, std::byte* start, std::uint64_t bytes, std::uint64_t page,
                const std::vector<std::uint32_t>& pus) {
    const auto wanted = bytes / bytes_worth_a_thread + 1;
    const auto count =
        std::min<std::uint64_t>({wanted, std::max<std::size_t>(pus.size(), 1), most_threads_per_node});
    const auto step = round_up((bytes + count - 1) / count, page);
    for (std::uint64_t offset = 0; offset < bytes; offset += step)
        chunks.push_back({start + offset, std::min(step, bytes - offset), pus, {}});
}

Status prefault_all(std::vector<Chunk>& chunks, std::size_t page, std::size_t vcpus) {
    // The control thread waits here for the threads: a signal is theirs to see.
    const auto populate = [page](const Chunk& chunk) -> Status {
        const std::size_t most_at_once = std::max<std::size_t>(page, 256 * MiB);
        for (std::size_t done = 0; done < chunk.bytes; done += most_at_once) {
            if (supervise::is_end_pending())
                return fail(ErrorKind::cancelled, "prefault guest memory", "stopped by a signal");
            if (auto present =
                    topology::prefault(chunk.start + done, std::min(most_at_once, chunk.bytes - done), page);
                !present)
                return present;
        }
        return {};
    };
    const auto work = [&](Chunk& chunk) {
        chunk.status = topology::pin_this_thread(chunk.pus).and_then([&] { return populate(chunk); });
    };
    std::vector<std::jthread> threads;
    threads.reserve(chunks.size());
    try {
        for (auto& chunk : chunks)
            threads.emplace_back(work, std::ref(chunk));
    } catch (const std::system_error& error) {
        return tl::unexpected{thread_refused("start a thread that prefaults guest memory",
                                             error.code().value(), threads_needed(vcpus), threads_allowed())};
    }
    threads.clear(); // joins
    for (const auto& chunk : chunks)
        if (!chunk.status)
            return chunk.status;
    return {};
}

} // namespace

void GuestMemory::Unmap::operator()(std::byte* start) const noexcept {
    ::munmap(start, bytes);
}

Result<GuestMemory> GuestMemory::allocate(const topology::Plan& plan, Presence presence) {
    GuestMemory memory;
    memory._ranges = boot::ram_ranges(plan.nodes);
    const auto page = topology::bytes_of(plan.page_size);
    std::vector<Chunk> chunks;
    for (const auto& range : memory._ranges) {
        void* const start = map_range(range, plan.page_size);
        if (start == MAP_FAILED)
            return fail_errno(
                ErrorKind::host_lacks,
                fmt::format("map {} of guest memory for virtual node {}", format_size(range.bytes),
                            range.virtual_node),
                map_flags(plan.page_size) != 0
                    ? "reserve huge pages (see HugePages_Free in /proc/meminfo) or leave out --hugepages"
                    : "use less memory (--memory)");
        auto* const host = static_cast<std::byte*>(start);
        memory._mappings.emplace_back(host, Unmap{range.bytes});
        // Only advice: a kernel without transparent huge pages gives small ones.
        if (plan.page_size == topology::PageSize::thp)
            ::madvise(start, range.bytes, MADV_HUGEPAGE);
        // A core dump of the VMM is about the VMM.
        ::madvise(start, range.bytes, MADV_DONTDUMP);
        const auto& node = plan.nodes[range.virtual_node];
        if (node.host_node)
            if (auto bound = topology::bind_memory(host, range.bytes, *node.host_node); !bound)
                return tl::unexpected{bound.error()};
        if (presence == Presence::prefaulted)
            add_chunks(chunks, host, range.bytes, page, pus_of_node(plan, range.virtual_node));
    }
    if (auto present = prefault_all(chunks, page, plan.vcpus.size()); !present)
        return tl::unexpected{present.error()};
    return memory;
}

std::vector<GuestMemory::Region> GuestMemory::regions() const {
    std::vector<Region> regions;
    for (std::size_t i = 0; i < _ranges.size(); ++i)
        regions.push_back({_ranges[i], _mappings[i].get()});
    return regions;
}

std::span<std::byte> GuestMemory::at(std::uint64_t address, std::uint64_t bytes) const {
    for (std::size_t i = 0; i < _ranges.size(); ++i) {
        const auto& range = _ranges[i];
        if (address < range.address || address - range.address >= range.bytes)
            continue;
        const auto offset = address - range.address;
        if (bytes > range.bytes - offset)
            return {};
        return {_mappings[i].get() + offset, bytes};
    }
    return {};
}

Status GuestMemory::write(std::uint64_t address, std::span<const std::byte> data) const {
    if (data.empty())
        return {};
    const auto to = at(address, data.size());
    if (to.empty())
        return fail(ErrorKind::bad_input, fmt::format("load {} bytes at {:#x}", data.size(), address),
                    "no guest memory there", "use more --memory");
    // One call for many pages costs a fraction of as many page faults. No page is smaller, and ranges begin
    // and end at such borders.
    constexpr auto page = 4 * KiB;
    if (data.size() >= pages_worth_a_call * page) {
        const auto first = address / page * page;
        const auto part = at(first, round_up(address + data.size(), page) - first);
        if (auto present = topology::prefault(part.data(), part.size(), page); !present)
            return present;
    }
    // Not std::ranges::copy, which g++ 12 makes a loop of single bytes.
    std::memcpy(to.data(), data.data(), data.size());
    return {};
}

} // namespace nestbed::machine
