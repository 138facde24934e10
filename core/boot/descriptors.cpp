#include "core/boot/descriptors.hpp"

#include <cstring>

namespace nestbed::boot {

namespace {

constexpr std::uint8_t nmi_ist = 1;
constexpr std::uint8_t double_fault_ist = 2;

// SDM volume 3, figure 6-8 "64-Bit IDT Gate Descriptors".
struct Gate {
    std::uint16_t offset_low;
    std::uint16_t selector;
    std::uint8_t ist;
    std::uint8_t type; // present, DPL, 64-bit interrupt gate
    std::uint16_t offset_middle;
    std::uint32_t offset_high;
    std::uint32_t reserved;
};
static_assert(sizeof(Gate) == 16);

// SDM volume 3, figure 8-11 "64-Bit TSS Format".
struct [[gnu::packed]] Tss {
    std::uint32_t reserved0;
    std::uint64_t rsp[3];
    std::uint64_t reserved1;
    std::uint64_t ist[7];
    std::uint64_t reserved2;
    std::uint16_t reserved3;
    std::uint16_t io_map_base;
};
static_assert(sizeof(Tss) == 104);

struct [[gnu::packed]] PseudoDescriptor {
    std::uint16_t limit;
    std::uint64_t base;
};

Gate gate_for(unsigned vector, std::uint64_t handler) {
    return {.offset_low = static_cast<std::uint16_t>(handler),
            .selector = wire::kernel_code_selector,
            .ist = vector == 2   ? nmi_ist
                   : vector == 8 ? double_fault_ist
                                 : std::uint8_t{0},
            .type = 0x8e,
            .offset_middle = static_cast<std::uint16_t>(handler >> 16),
            .offset_high = static_cast<std::uint32_t>(handler >> 32),
            .reserved = 0};
}

// Both halves of an available 64-bit TSS descriptor (SDM volume 3, figure 8-4).
std::array<std::uint64_t, 2> tss_descriptor(std::uint64_t base) {
    const std::uint64_t limit = sizeof(Tss) - 1;
    return {limit | (base & 0xff'ffff) << 16 | std::uint64_t{0x89} << 40 | (base >> 24 & 0xff) << 56,
            base >> 32};
}

} // namespace

DescriptorPages descriptor_pages(std::uint64_t block, std::uint64_t stubs, std::uint32_t stride) {
    DescriptorPages pages{};
    const auto put = [&](std::uint64_t offset_in_block, const auto& value) {
        std::memcpy(pages.data() + (offset_in_block - wire::percpu_idt), &value, sizeof value);
    };

    for (unsigned vector = 0; vector < 256; ++vector)
        put(wire::percpu_idt + vector * sizeof(Gate),
            gate_for(vector, stubs + std::uint64_t{vector} * stride));

    const auto task = tss_descriptor(block + wire::percpu_tss);
    const std::array<std::uint64_t, 7> gdt{
        0,
        0x00af'9b00'0000'ffff, // wire::kernel_code_selector: 64-bit code, DPL 0
        0x00cf'9300'0000'ffff, // wire::kernel_data_selector
        0x00cf'f300'0000'ffff, // wire::user_data_selector
        0x00af'fb00'0000'ffff, // wire::user_code_selector: 64-bit code, DPL 3
        task[0],               // wire::task_selector
        task[1],
    };
    static_assert(wire::percpu_gdt + sizeof gdt <= wire::percpu_tss);
    put(wire::percpu_gdt, gdt);

    Tss tss{};
    tss.rsp[0] = block + wire::percpu_stack_top;
    tss.ist[nmi_ist - 1] = block + wire::percpu_nmi_stack_top;
    tss.ist[double_fault_ist - 1] = block + wire::percpu_double_fault_stack_top;
    tss.io_map_base = sizeof(Tss); // past the limit: no port is open to ring 3
    static_assert(wire::percpu_tss + sizeof tss <= wire::percpu_gdtr);
    put(wire::percpu_tss, tss);

    put(wire::percpu_gdtr, PseudoDescriptor{.limit = static_cast<std::uint16_t>(sizeof gdt - 1),
                                            .base = block + wire::percpu_gdt});
    put(wire::percpu_idtr, PseudoDescriptor{.limit = static_cast<std::uint16_t>(256 * sizeof(Gate) - 1),
                                            .base = block + wire::percpu_idt});
    return pages;
}

} // namespace nestbed::boot
