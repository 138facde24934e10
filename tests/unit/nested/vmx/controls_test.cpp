#include "nested/vmx/controls.hpp"

#include <bit>
#include <cstdint>
#include <set>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "nested/vmx/control_names.hpp"

namespace nestbed::vmx {
namespace {

struct Table {
    std::string name;
    std::span<const NamedBit> bits;
    std::size_t total;
    std::uint64_t all; // of them, as one number
};

// The numbers are put together from the manual's tables, independently of the code.
const Table tables[]{
    {"pin-based", pin_based_control_names, 5, 0xe9},
    {"primary", primary_control_names, 22, 0xfbfb'9e8c},
    {"secondary", secondary_control_names, 31, 0xdfff'ffff},
    {"tertiary", tertiary_control_names, 8, 0x1df},
    {"exit", vm_exit_control_names, 18, 0xfffc'9204},
    {"secondary exit", secondary_vm_exit_control_names, 4, 0xf},
    {"entry", vm_entry_control_names, 16, 0x01ff'ee04},
};

TEST(Controls, EachBitHasOneNameInAscendingOrder) {
    for (const auto& table : tables) {
        EXPECT_EQ(table.bits.size(), table.total) << table.name;
        std::uint64_t all = 0;
        std::set<std::string> names;
        for (const auto& bit : table.bits) {
            EXPECT_TRUE(std::has_single_bit(bit.mask)) << bit.name;
            EXPECT_GT(bit.mask, all) << bit.name << ": in ascending order, each once";
            all |= bit.mask;
            EXPECT_TRUE(names.insert(bit.name).second) << bit.name;
        }
        EXPECT_EQ(all, table.all) << table.name << std::hex << ' ' << all;
    }
}

TEST(Controls, AreWhereTheManualHasThem) {
    EXPECT_EQ(pin_based::activate_vmx_preemption_timer, 1U << 6);
    EXPECT_EQ(primary::hlt_exiting, 1U << 7);
    EXPECT_EQ(primary::use_msr_bitmaps, 1U << 28);
    EXPECT_EQ(primary::activate_secondary_controls, 1U << 31);
    EXPECT_EQ(secondary::enable_ept, 1U << 1);
    EXPECT_EQ(secondary::enable_vpid, 1U << 5);
    EXPECT_EQ(secondary::unrestricted_guest, 1U << 7);
    EXPECT_EQ(secondary::vmcs_shadowing, 1U << 14);
    EXPECT_EQ(secondary::enable_xsaves_xrstors, 1U << 20);
    EXPECT_EQ(secondary::use_tsc_scaling, 1U << 25);
    EXPECT_EQ(tertiary::ipi_virtualization, 1U << 4);
    EXPECT_EQ(vm_exit::host_address_space_size, 1U << 9);
    EXPECT_EQ(vm_exit::acknowledge_interrupt_on_exit, 1U << 15);
    EXPECT_EQ(vm_exit::load_ia32_efer, 1U << 21);
    EXPECT_EQ(vm_entry::ia_32e_mode_guest, 1U << 9);
    EXPECT_EQ(vm_entry::load_ia32_efer, 1U << 15);
}

} // namespace
} // namespace nestbed::vmx
