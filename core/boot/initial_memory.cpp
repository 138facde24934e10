#include "core/boot/initial_memory.hpp"

#include <cstring>
#include <span>
#include <type_traits>

#include "core/boot/descriptors.hpp"
#include "core/boot/page_tables.hpp"
#include "core/wire/mailbox.hpp"

namespace nestbed::boot {

namespace {

void add(InitialMemory& memory, std::uint64_t address, std::span<const std::byte> data) {
    memory.pieces.push_back({address, memory.made.emplace_back(data.begin(), data.end())});
}

template<typename T>
void add_object(InitialMemory& memory, std::uint64_t address, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    add(memory, address, std::as_bytes(std::span{&value, 1}));
}

void add_words(InitialMemory& memory, std::uint64_t address, const std::vector<std::uint64_t>& values) {
    add(memory, address, std::as_bytes(std::span{values}));
}

wire::Header header_of(const topology::Plan& plan, const GuestPlacement& placement, std::uint64_t tsc_khz) {
    wire::Header header{};
    header.magic = wire::header_magic;
    header.version = wire::version;
    header.vcpus = static_cast<std::uint32_t>(plan.vcpus.size());
    header.tsc_khz = tsc_khz;
    header.percpu_table = placement.percpu_table.address;
    header.vcpu_blocks = placement.vcpu_blocks.address;
    header.ring = placement.ring.address;
    header.scratch = placement.scratch.address;
    header.scratch_bytes = placement.scratch.bytes;
    return header;
}

} // namespace

InitialMemory initial_memory(const Payload& payload, const topology::Plan& plan,
                             const GuestPlacement& placement, std::uint64_t mapped_end, bool gib_pages,
                             std::uint64_t tsc_khz) {
    InitialMemory memory;
    for (const auto& segment : payload.image.segments)
        memory.pieces.push_back({segment.address, segment.data});
    const auto tables = identity_map(placement.page_tables.address, mapped_end, gib_pages);
    memory.cr3 = tables.root;
    add_words(memory, tables.root, tables.entries);
    add_words(memory, placement.vcpu_blocks.address, placement.blocks);

    std::vector<std::uint64_t> by_apic_id(placement.percpu_table.bytes / 8);
    for (const auto& vcpu : plan.vcpus) {
        const auto block = placement.blocks[vcpu.vcpu];
        by_apic_id[vcpu.apic_id] = block;
        add(memory, block + wire::percpu_idt,
            descriptor_pages(block, payload.vector_stubs, payload.vector_stub_stride));
        wire::Mailbox mailbox{};
        mailbox.self = block;
        mailbox.vcpu = vcpu.vcpu;
        mailbox.apic_id = vcpu.apic_id;
        add_object(memory, block + wire::percpu_mailbox, mailbox);
    }
    add_words(memory, placement.percpu_table.address, by_apic_id);
    add_object(memory, placement.header.address, header_of(plan, placement, tsc_khz));
    add_object(memory, wire::boot_block_gpa,
               wire::BootBlock{.cr3 = tables.root,
                               .percpu_table = placement.percpu_table.address,
                               .header = placement.header.address,
                               .apic_id_limit = static_cast<std::uint32_t>(by_apic_id.size()),
                               .lost_apic_id = 0});
    return memory;
}

} // namespace nestbed::boot
