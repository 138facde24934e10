// That L2 runs at all, in each mode and with each page size: what every other test stands on.
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"

namespace nestbed::svm {

using conform::expect_equal;

SVM_TEST(basic_long_mode, "svm.basic.long_mode", "L2 runs 64-bit code and leaves by VMMCALL", "15.5") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 0x1234'5678'9abc'def0; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x1234'5678'9abc'def0U, "what L2 wrote into L1's memory");
}

L2_CODE(l2_basic_16, 16, "movl $0x16161616, %eax; vmmcall");
L2_CODE(l2_basic_32, 32, "movl $0x32323232, %eax; pushl %eax; popl %ecx; vmmcall");

namespace {
void run_blob(L2& guest, std::uint64_t expected) {
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rax, expected, "RAX that L2 left");
}
std::uint64_t blob_stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
}
std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}
} // namespace

SVM_TEST(basic_real_mode, "svm.basic.real_mode", "L2 runs 16-bit code in real mode", "15.5.1") {
    L2 guest;
    set_real_mode(guest.save(), address_of(l2_basic_16), blob_stack() - 4096);
    run_blob(guest, 0x1616'1616);
}
SVM_TEST(basic_protected_mode, "svm.basic.protected_mode", "L2 runs 32-bit code with paging off", "15.5.1") {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_basic_32), blob_stack());
    run_blob(guest, 0x3232'3232);
}
SVM_TEST(basic_pae, "svm.basic.pae", "L2 runs 32-bit code with PAE paging", "15.5.1") {
    L2 guest;
    set_pae_mode(guest.save(), address_of(l2_basic_32), blob_stack());
    run_blob(guest, 0x3232'3232);
}
SVM_TEST(basic_legacy_paging, "svm.basic.legacy_paging", "L2 runs 32-bit code with two-level paging",
         "15.5.1") {
    L2 guest;
    set_legacy_paging_mode(guest.save(), address_of(l2_basic_32), blob_stack());
    run_blob(guest, 0x3232'3232);
}
SVM_TEST(basic_compatibility, "svm.basic.compatibility_mode", "L2 runs 32-bit code in long mode", "15.5.1") {
    L2 guest;
    set_compatibility_mode(guest.save(), address_of(l2_basic_32), blob_stack());
    run_blob(guest, 0x3232'3232);
}

namespace {
void run_with_npt(PageSize size) {
    L2 guest;
    NestedPageTables tables{size};
    tables.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] { seen = 0x4e50'5421; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x4e50'5421U, "what L2 wrote through nested paging");
}
} // namespace

SVM_TEST(basic_npt_4k, "svm.basic.npt_4k", "L2 runs on nested page tables of 4 KiB pages", "15.25.5",
         .needs = "npt") {
    run_with_npt(PageSize::k4);
}
SVM_TEST(basic_npt_2m, "svm.basic.npt_2m", "L2 runs on nested page tables of 2 MiB pages", "15.25.5",
         .needs = "npt") {
    run_with_npt(PageSize::m2);
}
SVM_TEST(basic_npt_1g, "svm.basic.npt_1g", "L2 runs on nested page tables of 1 GiB pages", "15.25.5",
         .needs = "npt") {
    if ((guest::cpuid(0x8000'0001, 0).edx >> 26 & 1) == 0)
        return conform::not_applicable("the vCPU has no 1 GiB pages (CPUID Fn8000_0001 EDX bit 26)");
    run_with_npt(PageSize::g1);
}

SVM_TEST(basic_gif_after_exit, "svm.basic.gif_after_exit", "GIF is 0 after an exit, 1 after STGI", "15.17") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    vmrun_refused(guest);
    expect_equal(gif_is_set(), false, "GIF right after the exit");
    expect_equal(gif_is_set(), true, "GIF after STGI");
}

} // namespace nestbed::svm
