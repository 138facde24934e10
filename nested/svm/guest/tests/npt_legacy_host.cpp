// L1 in 32-bit code: the nested tables then have L1's paging mode, two-level or PAE (APM volume 2, 15.25.3).
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/legacy_host.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_legacy_host_32, 32, "movl (%esi), %eax; movl %ebx, (%edi); vmmcall");

namespace {

constexpr std::uint64_t first_value = 0x1111'2222;
constexpr std::uint64_t second_value = 0x3333'4444;
constexpr std::uint64_t third_value = 0x5555'6666;

std::uint64_t page_with(std::uint64_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 4)
        *guest::pointer_to<std::uint32_t>(page + at) = static_cast<std::uint32_t>(value);
    return page;
}
std::uint32_t word_at(std::uint64_t address) {
    return *guest::pointer_to<volatile std::uint32_t>(address);
}
std::uint64_t stack() {
    return conform::physical(conform::allocate_pages(1)) + 4096;
}

// L2 reads at one page and writes to another, both elsewhere by the nested tables.
struct LegacyNested {
    L2 guest;
    bool pae;
    LegacyHost host{};
    std::uint64_t nested = 0; // the root
    std::uint64_t from = page_with(first_value);
    std::uint64_t to = page_with(first_value);
    std::uint64_t from_behind = page_with(second_value);
    std::uint64_t to_behind = page_with(first_value);

    explicit LegacyNested(bool with_pae) : pae{with_pae} {
        auto& save = guest.save();
        // Tables for L1 and for N_CR3: of one format, but not the same.
        for (unsigned i = 0; i < 2; ++i) {
            if (pae)
                set_pae_mode(save, 0, 0);
            else
                set_legacy_paging_mode(save, 0, 0);
            host.cr4 = save.cr4;
            (i == 0 ? host.cr3 : nested) = save.cr3;
        }
        set_protected_mode(save, reinterpret_cast<std::uint64_t>(l2_legacy_host_32), stack());
        host.vmcb = guest.vmcb_pa();
        guest.control().nested_ctl |= 1;
        guest.control().n_cr3 = nested;
        set(from, from_behind | 7);
        set(to, to_behind | 7);
    }
    // The nested entry of 4 KiB for an address.
    void set(std::uint64_t address, std::uint64_t entry) {
        if (pae) {
            const auto directory = guest::pointer_to<std::uint64_t>(nested)[address >> 30] & npt_bit::address;
            auto& slot = guest::pointer_to<std::uint64_t>(directory)[address >> 21 & 511];
            if ((slot & npt_bit::large) != 0) {
                auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
                for (std::uint64_t i = 0; i < 512; ++i)
                    table[i] = ((slot & npt_bit::address) + i * 4096) | 7;
                slot = conform::physical(table) | 7;
            }
            guest::pointer_to<std::uint64_t>(slot & npt_bit::address)[address >> 12 & 511] = entry;
            return;
        }
        auto& slot = guest::pointer_to<std::uint32_t>(nested)[address >> 22];
        if ((slot & npt_bit::large) != 0) {
            auto* const table = static_cast<std::uint32_t*>(conform::allocate_pages(1));
            for (std::uint32_t i = 0; i < 1024; ++i)
                table[i] = ((slot & 0xffc0'0000) + i * 4096) | 7;
            slot = static_cast<std::uint32_t>(conform::physical(table)) | 7;
        }
        guest::pointer_to<std::uint32_t>(slot & ~0xfffU)[address >> 12 & 1023] =
            static_cast<std::uint32_t>(entry);
    }
    void run() {
        flush_all(guest);
        vmrun_in_legacy_mode(host, from + 0x10, to + 0x20, third_value);
    }
    void run_to_end() {
        run();
        expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
        expect_equal(guest.save().rax & 0xffff'ffff, second_value, "what L2 read");
        expect_equal(word_at(to_behind + 0x20), third_value, "the page behind what L2 wrote to");
        expect_equal(word_at(to + 0x20), first_value, "the page that has the same address for L1");
    }
};

void legacy_faults(bool pae) {
    LegacyNested legacy{pae};
    legacy.set(legacy.from, legacy.from_behind | 6);
    legacy.set(legacy.to, legacy.to_behind | 5);
    legacy.run();
    expect_npf(legacy.guest, final_fault(Access::read, 0), legacy.from + 0x10, "a page not present");
    legacy.set(legacy.from, legacy.from_behind | 3);
    legacy.run();
    expect_npf(legacy.guest, final_fault(Access::read, npf::present), legacy.from + 0x10,
               "a page without the user bit");
    legacy.set(legacy.from, legacy.from_behind | 7);
    legacy.run();
    expect_npf(legacy.guest, final_fault(Access::write, npf::present), legacy.to + 0x20, "a read-only page");
    // It has read by now, and begins again with its first instruction.
    legacy.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_legacy_host_32);
    legacy.set(legacy.to, legacy.to_behind | 7);
    legacy.run_to_end();
}

} // namespace

SVM_TEST(legacy_host_two_level, "svm.npt.host_two_level_translates",
         "L1 with two-level paging: so are its nested tables", "15.25.3", .needs = "npt") {
    LegacyNested legacy{false};
    legacy.run_to_end();
}
SVM_TEST(legacy_host_two_level_faults, "svm.npt.host_two_level_faults", "Nested faults with two-level tables",
         "15.25.6", .needs = "npt") {
    legacy_faults(false);
}
SVM_TEST(legacy_host_pae, "svm.npt.host_pae_translates", "L1 with PAE paging: so are its nested tables",
         "15.25.3", .needs = "npt") {
    LegacyNested legacy{true};
    legacy.run_to_end();
}
SVM_TEST(legacy_host_pae_faults, "svm.npt.host_pae_faults", "Nested faults with PAE tables", "15.25.6",
         .needs = "npt") {
    legacy_faults(true);
}

SVM_TEST(legacy_host_pae_in_page, "svm.npt.host_pae_pointers_in_page",
         "N_CR3 of a PAE L1 has 32-byte steps: the pointers may begin within a page", "15.25.3",
         .needs = "npt") {
    LegacyNested legacy{true};
    const auto elsewhere = conform::physical(conform::allocate_pages(1)) + 0xfe0;
    for (unsigned i = 0; i < 4; ++i)
        guest::pointer_to<std::uint64_t>(elsewhere)[i] = guest::pointer_to<std::uint64_t>(legacy.nested)[i];
    legacy.guest.control().n_cr3 = elsewhere;
    legacy.run_to_end();
}
SVM_TEST(legacy_host_pae_low_bits, "svm.npt.host_pae_cr3_low_bits",
         "PWT and PCD in N_CR3 of a PAE L1 are no part of the address", "15.25.3", .needs = "npt") {
    constexpr std::uint64_t pwt_and_pcd[]{0x08, 0x10, 0x18};
    for (const auto bits : pwt_and_pcd) {
        LegacyNested legacy{true};
        legacy.guest.control().n_cr3 = legacy.nested | bits;
        legacy.run_to_end();
    }
}

SVM_TEST(legacy_host_after, "svm.npt.host_two_level_then_long",
         "L1 runs one L2 out of 32-bit code, the next out of 64-bit code", "15.25.3", .needs = "npt") {
    LegacyNested legacy{false};
    if (!Window::possible())
        return;
    Window window;
    for (unsigned round = 0; round < 3; ++round) {
        legacy.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_legacy_host_32);
        legacy.run_to_end();
        window.start(Access::read, 0);
        window.finish(Text{"64-bit in round ", round});
    }
}

} // namespace nestbed::svm
