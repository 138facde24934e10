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
        Extent largest;
        for (const auto& range : _free)
            if (range.bytes > largest.bytes)
                largest = {range.address, range.bytes};
        return largest;
    }

    [[nodiscard]] Extent largest_left_on(std::uint32_t virtual_node) const {
        Extent largest;
        for (const auto& range : _free)
            if (range.virtual_node == virtual_node && range.bytes > largest.bytes)
                largest = {range.address, range.bytes};
        return largest;
    }

private:
    std::vector<RamRange> _free;
};

// What lies on the first node, beside the payload and the blocks.
struct Piece {
    Extent GuestPlacement::*where;
    std::uint64_t bytes;
    std::string_view what;
};

std::vector<Piece> pieces_of(const topology::Plan& plan, std::span<const RamRange> ram, bool gib_pages) {
    std::uint32_t largest_id = 0;
    for (const auto& vcpu : plan.vcpus)
        largest_id = std::max(largest_id, vcpu.apic_id);
    const auto mapped_end = std::max(ram.empty() ? 0 : ram.back().end(), hole_end);
    return {
        // First, since CR3 must lie below 4 GiB for the APs.
        {&GuestPlacement::page_tables, identity_map_bytes(mapped_end, gib_pages), "page tables"},
        {&GuestPlacement::percpu_table, (std::uint64_t{largest_id} + 1) * 8, "the table of APIC ids"},
        {&GuestPlacement::vcpu_blocks, plan.vcpus.size() * 8, "the table of vCPUs"},
        {&GuestPlacement::header, sizeof(wire::Header), "the header"},
        {&GuestPlacement::ring, sizeof(wire::Ring), "the record ring"},
    };
}

std::uint64_t needed_on(const topology::Plan& plan, std::span<const Piece> pieces, std::uint32_t node,
                        std::uint64_t image_end) {
    std::uint64_t needed = 0;
    if (!plan.nodes.empty() && plan.nodes.front().virtual_node == node) {
        needed = round_up(image_end, wire::page_bytes);
        for (const auto& piece : pieces)
            needed += round_up(piece.bytes, wire::page_bytes);
    }
    for (const auto& vcpu : plan.vcpus)
        if (vcpu.virtual_node == node)
            needed += round_up(wire::percpu_bytes, wire::page_bytes);
    return needed;
}

// Of the guest as a whole, so that one of its nodes has the `needed` bytes that it now lacks: more than the
// guest has, whether its memory is split in equal parts or in the proportion that it is split in now.
std::uint64_t enough_memory(const topology::Plan& plan, std::uint32_t node, std::uint64_t needed) {
    std::uint64_t has = 0;
    for (const auto& one : plan.nodes)
        if (one.virtual_node == node)
            has += one.memory_bytes;
    const auto total = plan.memory_bytes();
    const auto lacking = needed > has ? needed - has : wire::page_bytes;
    auto enough = std::max(default_memory_bytes(static_cast<std::uint32_t>(plan.vcpus.size())),
                           total + lacking * plan.nodes.size());
    if (has > 0 && needed > has)
        enough = std::max(
            enough, static_cast<std::uint64_t>(static_cast<double>(total) *
                                               (static_cast<double>(needed) / static_cast<double>(has))) +
                        plan.nodes.size() * wire::page_bytes);
    return enough;
}

} // namespace

Result<GuestPlacement> place_guest(const topology::Plan& plan, std::span<const RamRange> ram,
                                   std::uint64_t image_end, bool gib_pages) {
    const auto asked = fmt::format("fit the payload and {} vCPUs into {}", plan.vcpus.size(),
                                   format_size(plan.memory_bytes()));
    const auto pieces = pieces_of(plan, ram, gib_pages);
    const auto too_small = [&](std::uint32_t node, std::uint64_t bytes, std::string_view what) {
        return fail(
            ErrorKind::bad_input, asked,
            fmt::format("virtual node {} has no {} left for {}", node, format_size(bytes), what),
            fmt::format("use --memory {}M or more",
                        round_up(enough_memory(plan, node, needed_on(plan, pieces, node, image_end)), MiB) /
                            MiB));
    };
    if (ram.empty() || ram.front().address != 0 || ram.front().bytes < image_end)
        return too_small(plan.nodes.empty() ? 0 : plan.nodes.front().virtual_node, image_end, "the payload");

    const auto first = ram.front().virtual_node;
    Allocator allocator{ram, round_up(image_end, wire::page_bytes)};
    GuestPlacement placement;
    for (const auto& piece : pieces) {
        const auto taken = allocator.take(first, piece.bytes);
        if (!taken)
            return too_small(first, piece.bytes, piece.what);
        placement.*piece.where = *taken;
    }
    if (placement.page_tables.address + placement.page_tables.bytes > hole_end)
        return fail(
            ErrorKind::bad_input, asked,
            fmt::format("page tables of {} do not fit below 4 GiB", format_size(placement.page_tables.bytes)),
            "use less --memory");
    for (const auto& vcpu : plan.vcpus) {
        const auto block = allocator.take(vcpu.virtual_node, wire::percpu_bytes);
        if (!block)
            return too_small(vcpu.virtual_node, wire::percpu_bytes, fmt::format("vCPU {}", vcpu.vcpu));
        placement.blocks.push_back(block->address);
    }
    placement.scratch = allocator.largest_left();
    for (const auto& node : plan.nodes)
        placement.node_scratch.push_back(allocator.largest_left_on(node.virtual_node));
    return placement;
}

std::uint64_t default_memory_bytes(std::uint32_t vcpus) {
    return round_up(64 * MiB + std::uint64_t{vcpus} * 128 * KiB, 2 * MiB);
}

} // namespace nestbed::boot
