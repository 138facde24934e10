#include "core/cpu/shown_cpu.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cpu/cpuid.hpp"
#include "guest_view.hpp"
#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

constexpr CpuidBits x2apic{1, 0, Register::ecx, 1U << 21};

TEST(ShownCpu, BitsAreHiddenWhereTheyAreNamedAndNowhereElse) {
    for (const auto& host : all_hosts()) {
        for (const auto reg : {Register::eax, Register::ebx, Register::ecx, Register::edx}) {
            const std::vector<CpuidBits> hidden{{7, 0, reg, 0xff0f}};
            const auto before = execute(host.table, 7);
            const auto after = execute(without_bits(host.table, hidden), 7);
            const auto mask = [&](Register one) { return one == reg ? ~0xff0fU : ~0U; };
            EXPECT_EQ(after.eax, before.eax & mask(Register::eax));
            EXPECT_EQ(after.ebx, before.ebx & mask(Register::ebx));
            EXPECT_EQ(after.ecx, before.ecx & mask(Register::ecx));
            EXPECT_EQ(after.edx, before.edx & mask(Register::edx));
        }
        const std::vector<CpuidBits> other{{7, 1, Register::ebx, ~0U}};
        EXPECT_EQ(execute(without_bits(host.table, other), 7).ebx, execute(host.table, 7).ebx);
    }
}

// Hidden bits win over what the machine writes by itself.
TEST(ShownCpu, OfAGuest) {
    const auto& host = host_named("IceLake").table;
    const std::vector<CpuidBits> wanted{x2apic};
    const auto all = guest_template(host, {.shape = {.cores = 2}});
    const auto some =
        guest_template(host, {.shape = {.cores = 2}, .shown = {.hidden = wanted, .vendor = {}}});
    EXPECT_THAT(missing_bits(all, wanted), testing::IsEmpty());
    EXPECT_EQ(missing_bits(some, wanted), wanted);
    EXPECT_EQ(missing_bits(Table{}, wanted), wanted);
}

struct VendorCase {
    std::string shown;
    Vendor vendor;
    std::uint32_t extended_ebx;
    std::uint32_t extended_edx;
    std::uint32_t extended_ecx;
};

// The topology is told in the leaves of the vendor that is shown.
TEST(ShownCpu, Vendors) {
    for (const auto& host : all_hosts()) {
        for (const auto& [shown, vendor, ebx, edx, ecx] :
             {VendorCase{"GenuineIntel", Vendor::intel, 0, 0, 0},
              VendorCase{"AuthenticAMD", Vendor::amd, 0x68747541, 0x69746e65, 0x444d4163}}) {
            const auto guest =
                guest_template(host.table, {.shape = {.cores = 2}, .shown = {.hidden = {}, .vendor = shown}});
            EXPECT_EQ(vendor_of(guest), vendor) << host.name;
            EXPECT_EQ(execute(guest, 0x80000000).ebx, ebx) << host.name;
            EXPECT_EQ(execute(guest, 0x80000000).edx, edx) << host.name;
            EXPECT_EQ(execute(guest, 0x80000000).ecx, ecx) << host.name;
            EXPECT_EQ(find(guest, 0x1f) != nullptr, vendor == Vendor::intel) << host.name;
            EXPECT_EQ(find(guest, 0x80000026) != nullptr, vendor == Vendor::amd) << host.name;
        }
        EXPECT_EQ(vendor_of(with_vendor(host.table, "")), host.vendor);
        EXPECT_EQ(vendor_of(with_vendor(host.table, "Intel")), host.vendor);
    }
}

} // namespace
} // namespace nestbed::core::cpu::test
