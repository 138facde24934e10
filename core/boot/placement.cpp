#include "core/boot/placement.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/boot/page_tables.hpp"
#include "core/wire/layout.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::boot {

namespace {

// Hands out page-aligned pieces of each virtual node's RAM, lowest first.
class Allocator {
public:
    Allocator(std::span<const RamRange> ram, std::uint64_t used_up_to) : _free{ram.begin(), ram.end()} {
        for (auto& range : _free) {
            const auto start = std::min(std::max(range.address, used_up_to), range.end());
            range.bytes = range.end() - start;
            range.address = start;
        }
    }

    std::optional<Extent> take(std::uint32_t virtual_node, std::uint64_t bytes) {
        bytes = round_up(bytes, wire::page_bytes);
        for (auto& range : _free) {
            if (range.virtual_node != virtual_node || range.bytes < bytes)
                continue;
            const Extent taken{range.address, bytes};
            range.address += bytes;
            range.bytes -= bytes;
            return taken;
        }
        return std::nullopt;
    }

    [[nodiscard]] Extent largest_left() const {
        const auto largest =
            std::max_element(_free.begin(), _free.end(),
                             [](const RamRange& a, const RamRange& b) { return a.bytes < b.bytes; });
        return largest == _free.end() ? Extent{} : Extent{largest->address, largest->bytes};
    }

private:
    std::vector<RamRange> _free;
};

} // namespace

Result<GuestPlacement> place_guest(const topology::Plan& plan, std::span<const RamRange> ram,
                                   std::uint64_t image_end, bool gib_pages) {
    const auto too_small = [&](std::uint32_t node, std::uint64_t bytes, std::string_view what) {
        return fail(ErrorKind::bad_input,
                    fmt::format("fit the payload and {} vCPUs into {}", plan.vcpus.size(),
                                format_size(plan.memory_bytes())),
                    fmt::format("virtual node {} has no {} left for {}", node, format_size(bytes), what),
                    fmt::format("use --memory {}M or more",
                                default_memory_bytes(static_cast<std::uint32_t>(plan.vcpus.size())) / MiB));
    };
    if (ram.empty() || ram.front().address != 0 || ram.front().bytes < image_end)
        return too_small(0, image_end, "the payload");

    const auto first = ram.front().virtual_node;
    Allocator allocator{ram, round_up(image_end, wire::page_bytes)};
    GuestPlacement placement;
    std::uint32_t largest_id = 0;
    for (const auto& vcpu : plan.vcpus)
        largest_id = std::max(largest_id, vcpu.apic_id);
    const auto mapped_end = std::max(ram.back().end(), hole_end);

    struct Piece {
        Extent GuestPlacement::*where;
        std::uint64_t bytes;
        std::string_view what;
    };
    for (const auto& piece : {
             // First, since CR3 must lie below 4 GiB for the APs.
             Piece{&GuestPlacement::page_tables, identity_map_bytes(mapped_end, gib_pages), "page tables"},
             Piece{&GuestPlacement::percpu_table, (std::uint64_t{largest_id} + 1) * 8,
                   "the table of APIC ids"},
             Piece{&GuestPlacement::vcpu_blocks, plan.vcpus.size() * 8, "the table of vCPUs"},
             Piece{&GuestPlacement::header, sizeof(wire::Header), "the header"},
             Piece{&GuestPlacement::ring, sizeof(wire::Ring), "the record ring"},
         }) {
        const auto taken = allocator.take(first, piece.bytes);
        if (!taken)
            return too_small(first, piece.bytes, piece.what);
        placement.*piece.where = *taken;
    }
    if (placement.page_tables.address + placement.page_tables.bytes > hole_end)
        return too_small(first, placement.page_tables.bytes, "page tables below 4 GiB");
    for (const auto& vcpu : plan.vcpus) {
        const auto block = allocator.take(vcpu.virtual_node, wire::percpu_bytes);
        if (!block)
            return too_small(vcpu.virtual_node, wire::percpu_bytes, fmt::format("vCPU {}", vcpu.vcpu));
        placement.blocks.push_back(block->address);
    }
    placement.scratch = allocator.largest_left();
    return placement;
}

std::uint64_t default_memory_bytes(std::uint32_t vcpus) {
    return round_up(64 * MiB + std::uint64_t{vcpus} * 128 * KiB, 2 * MiB);
}

} // namespace nestbed::boot
