#include "core/boot/descriptors.hpp"

#include <cstdint>
#include <cstring>

#include <gtest/gtest.h>

namespace nestbed::boot {
namespace {

// Bits in every part of the addresses that descriptors cut up.
constexpr std::uint64_t block = 0x0000'0012'b456'8000;
constexpr std::uint64_t stubs = 0x0000'0034'd678'9a00;
constexpr std::uint32_t stride = 16;

template<typename T>
T read(const DescriptorPages& pages, std::uint64_t offset_in_block) {
    T value{};
    std::memcpy(&value, pages.data() + (offset_in_block - wire::percpu_idt), sizeof value);
    return value;
}

constexpr std::uint64_t bits(std::uint64_t value, unsigned high, unsigned low) {
    return value >> low & ((std::uint64_t{1} << (high - low + 1)) - 1);
}

// SDM volume 3, figure 6-8, by bit number.
TEST(Descriptors, EveryVectorHasItsGate) {
    const auto pages = descriptor_pages(block, stubs, stride);
    for (unsigned vector = 0; vector < 256; ++vector) {
        SCOPED_TRACE(vector);
        const auto low = read<std::uint64_t>(pages, wire::percpu_idt + vector * 16);
        const auto high = read<std::uint64_t>(pages, wire::percpu_idt + vector * 16 + 8);
        const auto offset = bits(low, 15, 0) | bits(low, 63, 48) << 16 | bits(high, 31, 0) << 32;
        EXPECT_EQ(offset, stubs + std::uint64_t{vector} * stride);
        EXPECT_EQ(bits(low, 31, 16), wire::kernel_code_selector);
        EXPECT_EQ(bits(low, 34, 32), vector == 2 ? 1U : vector == 8 ? 2U : 0U) << "IST";
        EXPECT_EQ(bits(low, 39, 35), 0U) << "reserved";
        EXPECT_EQ(bits(low, 44, 40), 14U) << "64-bit interrupt gate";
        EXPECT_EQ(bits(low, 46, 45), 0U) << "DPL: ring 3 calls none of them";
        EXPECT_EQ(bits(low, 47, 47), 1U) << "present";
        EXPECT_EQ(bits(high, 63, 32), 0U) << "reserved";
    }
}

struct SegmentCase {
    std::uint16_t selector;
    std::uint64_t dpl;
    bool is_code;
};

// SDM volume 3, figure 3-8 and table 3-1.
TEST(Descriptors, SegmentsAreFlatWithTheRingOfTheirSelector) {
    const auto pages = descriptor_pages(block, stubs, stride);
    EXPECT_EQ(read<std::uint64_t>(pages, wire::percpu_gdt), 0U) << "the null descriptor";
    for (const auto& [selector, dpl, is_code] :
         {SegmentCase{wire::kernel_code_selector, 0, true}, SegmentCase{wire::kernel_data_selector, 0, false},
          SegmentCase{wire::user_code_selector, 3, true}, SegmentCase{wire::user_data_selector, 3, false}}) {
        SCOPED_TRACE(selector);
        EXPECT_EQ(selector & 3U, dpl) << "RPL";
        const auto descriptor = read<std::uint64_t>(pages, wire::percpu_gdt + (selector & ~7U));
        EXPECT_EQ(bits(descriptor, 46, 45), dpl);
        EXPECT_EQ(bits(descriptor, 47, 47), 1U) << "present";
        EXPECT_EQ(bits(descriptor, 44, 44), 1U) << "no system segment";
        EXPECT_EQ(bits(descriptor, 43, 43), is_code ? 1U : 0U);
        EXPECT_EQ(bits(descriptor, 41, 41), 1U) << "readable code, writable data";
        EXPECT_EQ(bits(descriptor, 53, 53), is_code ? 1U : 0U) << "L";
        EXPECT_EQ(bits(descriptor, 54, 54), is_code ? 0U : 1U) << "D must be 0 where L is 1";
        EXPECT_EQ(bits(descriptor, 15, 0) | bits(descriptor, 51, 48) << 16, 0xf'ffffU) << "limit";
        EXPECT_EQ(bits(descriptor, 39, 16) | bits(descriptor, 63, 56) << 24, 0U) << "base";
    }
}

// SDM volume 3, figures 8-4 and 8-11.
TEST(Descriptors, TaskStateHasTheStacksOfItsBlock) {
    const auto pages = descriptor_pages(block, stubs, stride);
    const auto low = read<std::uint64_t>(pages, wire::percpu_gdt + wire::task_selector);
    const auto high = read<std::uint64_t>(pages, wire::percpu_gdt + wire::task_selector + 8);
    EXPECT_EQ(bits(low, 39, 16) | bits(low, 63, 56) << 24 | bits(high, 31, 0) << 32,
              block + wire::percpu_tss);
    EXPECT_EQ(bits(low, 15, 0) | bits(low, 51, 48) << 16, 103U) << "limit";
    EXPECT_EQ(bits(low, 44, 40), 9U) << "available 64-bit TSS";
    EXPECT_EQ(bits(low, 47, 47), 1U) << "present";
    EXPECT_EQ(bits(low, 55, 55), 0U) << "granularity";
    EXPECT_EQ(bits(high, 63, 32), 0U);

    const auto at = [&](std::uint64_t offset) {
        return read<std::uint64_t>(pages, wire::percpu_tss + offset);
    };
    EXPECT_EQ(at(4), block + wire::percpu_stack_top) << "RSP0";
    EXPECT_EQ(at(12), 0U) << "RSP1";
    EXPECT_EQ(at(36), block + wire::percpu_nmi_stack_top) << "IST1";
    EXPECT_EQ(at(44), block + wire::percpu_double_fault_stack_top) << "IST2";
    for (std::uint64_t ist = 3; ist <= 7; ++ist)
        EXPECT_EQ(at(28 + 8 * ist), 0U) << ist;
    EXPECT_EQ(read<std::uint16_t>(pages, wire::percpu_tss + 102), 104U) << "no I/O permission bitmap";
}

TEST(Descriptors, PseudoDescriptorsPointAtTheTables) {
    const auto pages = descriptor_pages(block, stubs, stride);
    EXPECT_EQ(read<std::uint16_t>(pages, wire::percpu_gdtr), 7 * 8 - 1);
    EXPECT_EQ(read<std::uint64_t>(pages, wire::percpu_gdtr + 2), block + wire::percpu_gdt);
    EXPECT_EQ(read<std::uint16_t>(pages, wire::percpu_idtr), 256 * 16 - 1);
    EXPECT_EQ(read<std::uint64_t>(pages, wire::percpu_idtr + 2), block + wire::percpu_idt);
}

TEST(Descriptors, LeaveTheStacksAlone) {
    const auto pages = descriptor_pages(block, stubs, stride);
    for (auto offset = wire::percpu_idtr + 10; offset < wire::percpu_idt + pages.size(); ++offset)
        ASSERT_EQ(read<std::uint8_t>(pages, offset), 0U) << std::hex << offset;
}

} // namespace
} // namespace nestbed::boot
