#include "core/boot/initial_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/boot/descriptors.hpp"
#include "core/boot/page_tables.hpp"
#include "core/boot/ram.hpp"
#include "core/wire/layout.hpp"
#include "core/wire/mailbox.hpp"
#include "elf_image.hpp"

namespace nestbed::boot {
namespace {

constexpr std::uint64_t mapped_end = 4 * GiB;
constexpr std::uint64_t guest_bytes = 16 * MiB;

// Two sockets of three cores: APIC ids 0 to 2 and 4 to 6, so that vCPU numbers and ids differ.
topology::Plan sparse_plan() {
    topology::Plan plan;
    plan.shape = {.sockets = 2, .dies = 1, .cores = 3, .threads = 1};
    for (std::uint32_t vcpu = 0; vcpu < 6; ++vcpu)
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = topology::apic_id_of(plan.shape, vcpu),
                              .virtual_node = 0,
                              .pus = {},
                              .reason = {}});
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = guest_bytes, .reason = {}}};
    return plan;
}

class InitialMemoryTest : public testing::Test {
protected:
    void SetUp() override {
        auto image = parse_elf64(elf);
        ASSERT_TRUE(image) << image.error().message();
        payload = {std::move(*image), test::entry, 0x10'0100, 16, {}};
        auto placed = place_guest(plan, ram_ranges(plan.nodes), MiB, false);
        ASSERT_TRUE(placed) << placed.error().message();
        placement = std::move(*placed);
        const auto initial = initial_memory(payload, plan, placement, mapped_end, false, 2'100'000);
        cr3 = initial.cr3;
        guest.resize(guest_bytes);
        for (const auto& piece : initial.pieces) {
            ASSERT_LE(piece.address + piece.data.size(), guest.size());
            const auto to = std::span{guest}.subspan(piece.address, piece.data.size());
            EXPECT_TRUE(std::ranges::all_of(to, [](std::byte byte) { return byte == std::byte{0}; }))
                << std::hex << piece.address << " is written twice";
            std::ranges::copy(piece.data, to.begin());
        }
    }

    template<typename T>
    T at(std::uint64_t address) const {
        T value{};
        std::memcpy(&value, guest.data() + address, sizeof value);
        return value;
    }

    test::Bytes elf = test::good_image();
    topology::Plan plan = sparse_plan();
    Payload payload;
    GuestPlacement placement;
    std::uint64_t cr3 = 0;
    std::vector<std::byte> guest; // as it is when the first vCPU starts
};

TEST_F(InitialMemoryTest, HoldsThePayload) {
    EXPECT_EQ(std::memcmp(guest.data() + test::first_address, elf.data() + test::first_data,
                          test::first_data_bytes),
              0);
    EXPECT_EQ(std::memcmp(guest.data() + test::second_address, elf.data() + test::second_data,
                          test::second_data_bytes),
              0);
}

TEST_F(InitialMemoryTest, HoldsThePageTablesThatCr3PointsAt) {
    EXPECT_EQ(cr3, placement.page_tables.address);
    const auto tables = identity_map(cr3, mapped_end, false);
    EXPECT_EQ(std::memcmp(guest.data() + cr3, tables.entries.data(), tables.entries.size() * 8), 0);
}

// What the trampoline and entry64 read before they know who they are.
TEST_F(InitialMemoryTest, TheBootBlockLeadsEachApicIdToItsVcpu) {
    const auto block = at<wire::BootBlock>(wire::boot_block_gpa);
    EXPECT_EQ(block.cr3, cr3);
    EXPECT_EQ(block.header, placement.header.address);
    EXPECT_EQ(block.percpu_table, placement.percpu_table.address);
    EXPECT_EQ(block.lost_apic_id, 0U);
    ASSERT_GE(block.apic_id_limit, 7U);
    ASSERT_LE(block.apic_id_limit, placement.percpu_table.bytes / 8) << "no id leads past the table";
    for (std::uint32_t id = 0; id < block.apic_id_limit; ++id) {
        const auto vcpu = std::ranges::find(plan.vcpus, id, &topology::VcpuPlacement::apic_id);
        EXPECT_EQ(at<std::uint64_t>(block.percpu_table + std::uint64_t{id} * 8),
                  vcpu == plan.vcpus.end() ? 0U : placement.blocks[vcpu->vcpu])
            << id;
    }
}

TEST_F(InitialMemoryTest, EachBlockBelongsToItsVcpu) {
    for (const auto& vcpu : plan.vcpus) {
        const auto block = placement.blocks[vcpu.vcpu];
        const auto mailbox = at<wire::Mailbox>(block + wire::percpu_mailbox);
        EXPECT_EQ(mailbox.self, block);
        EXPECT_EQ(mailbox.vcpu, vcpu.vcpu);
        EXPECT_EQ(mailbox.apic_id, vcpu.apic_id);
        EXPECT_EQ(mailbox.job, 0U);
        const auto descriptors = descriptor_pages(block, payload.vector_stubs, payload.vector_stub_stride);
        EXPECT_EQ(
            std::memcmp(guest.data() + block + wire::percpu_idt, descriptors.data(), descriptors.size()), 0);
    }
}

TEST_F(InitialMemoryTest, TheHeaderSaysWhereEverythingIs) {
    const auto header = at<wire::Header>(placement.header.address);
    EXPECT_EQ(header.magic, wire::header_magic);
    EXPECT_EQ(header.version, wire::version);
    EXPECT_EQ(header.vcpus, 6U);
    EXPECT_EQ(header.tsc_khz, 2'100'000U);
    EXPECT_EQ(header.percpu_table, placement.percpu_table.address);
    EXPECT_EQ(header.ring, placement.ring.address);
    EXPECT_EQ(header.scratch, placement.scratch.address);
    EXPECT_EQ(header.scratch_bytes, placement.scratch.bytes);
    for (std::uint32_t vcpu = 0; vcpu < 6; ++vcpu)
        EXPECT_EQ(at<std::uint64_t>(header.vcpu_blocks + std::uint64_t{vcpu} * 8), placement.blocks[vcpu]);
}

} // namespace
} // namespace nestbed::boot
