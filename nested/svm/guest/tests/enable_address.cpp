// The address in RAX of VMRUN, VMLOAD, VMSAVE and INVLPGA.
#include <initializer_list>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using guest::catch_fault;

namespace {

constexpr std::uint8_t general_protection = 13;

enum class Instruction { vmrun, vmload, vmsave };

void execute(Instruction which, std::uint64_t rax) {
    switch (which) {
    case Instruction::vmrun:
        return vmrun(rax);
    case Instruction::vmload:
        return vmload(rax);
    case Instruction::vmsave:
        return vmsave(rax);
    }
}
// With the address-size prefix, which makes RAX[63:32] void.
void execute_32(Instruction which, std::uint64_t rax) {
    switch (which) {
    case Instruction::vmrun:
        asm volatile("vmrun %%eax" : "+a"(rax) : : "memory", "cc");
        return;
    case Instruction::vmload:
        asm volatile("vmload %%eax" : "+a"(rax) : : "memory");
        return;
    case Instruction::vmsave:
        asm volatile("vmsave %%eax" : "+a"(rax) : : "memory");
        return;
    }
}

// A VMCB that all three may have: it runs a guest that does nothing but VMMCALL and changes no register.
extern "C" const char address_guest[];
asm(".pushsection .text\naddress_guest: vmmcall\n.popsection");
struct Harmless {
    Harmless() {
        guest.save().rip = reinterpret_cast<std::uint64_t>(address_guest);
        guest.save().rsp = conform::physical(guest.context().stack) + 4096;
        vmsave(guest.vmcb_pa()); // FS, GS, TR and the rest are L1's
    }
    L2 guest;
};

// #GP(0) before anything is read or written (APM volume 3, VMRUN, VMLOAD, VMSAVE: "rAX referenced a physical
// address above the maximum supported physical address", "The address in rAX was not aligned on a 4Kbyte
// boundary").
void bad_address(Instruction which, std::uint64_t change, bool replace = false) {
    Harmless harmless;
    auto& before = conform::allocate<Vmcb>();
    conform::copy_page(&before, &harmless.guest.vmcb());
    const auto rax = replace ? change : harmless.guest.vmcb_pa() | change;
    guest::disable_interrupts();
    const auto fault = catch_fault([&] { execute(which, rax); });
    stgi();
    expect(fault.raised, conform::Text{"RAX = ", conform::Hex{rax}, " raises an exception"});
    expect_equal(fault.vector, general_protection, "its vector");
    expect_equal(fault.error_code, 0U, "its error code");
    const auto* const now = reinterpret_cast<const std::uint64_t*>(&harmless.guest.vmcb());
    const auto* const then = reinterpret_cast<const std::uint64_t*>(&before);
    unsigned differ = 0;
    for (unsigned i = 0; i < 512; ++i)
        differ += now[i] != then[i] ? 1 : 0;
    expect_equal(differ, 0U, "words of the VMCB that were written");
    // The right address still does.
    guest::disable_interrupts();
    execute(which, harmless.guest.vmcb_pa());
    stgi();
    if (which == Instruction::vmrun)
        expect_equal(harmless.guest.control().exit_code, ExitCode::vmmcall,
                     "EXITCODE with the right address");
}

template<Instruction Which, std::uint64_t Change>
void bad_address_case() {
    bad_address(Which, Change);
}
template<Instruction Which>
void beyond_case() {
    for (unsigned bit = physical_address_bits(); bit < 64; ++bit) {
        const auto fault = catch_fault([&] { execute(Which, std::uint64_t{1} << bit); });
        stgi();
        expect(fault.is(general_protection), conform::Text{"RAX = 1 << ", bit, " is #GP"});
        expect_equal(fault.error_code, 0U, "its error code");
    }
}
template<Instruction Which>
void unaligned_each_case() {
    Harmless harmless;
    for (unsigned bit = 0; bit < 12; ++bit) {
        const auto fault = catch_fault([&] { execute(Which, harmless.guest.vmcb_pa() | 1U << bit); });
        stgi();
        expect(fault.is(general_protection), conform::Text{"RAX bit ", bit, " is #GP"});
    }
}
template<Instruction Which>
void address_size_case() {
    Harmless harmless;
    guest::disable_interrupts();
    harmless.guest.control().exit_code = 0;
    auto& gs = harmless.guest.save().gs;
    const auto base = gs.base;
    if (Which == Instruction::vmsave)
        gs.base = 0x5a5a;
    const auto fault =
        catch_fault([&] { execute_32(Which, harmless.guest.vmcb_pa() | 0xdead'beef'0000'0000); });
    stgi();
    expect(!fault.raised, conform::Text{"the upper half of RAX is void; raised vector ", fault.vector});
    if (Which == Instruction::vmrun)
        expect_equal(harmless.guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    else
        expect_equal(gs.base, base, "GS.base in the VMCB");
}
template<Instruction Which>
void address_size_unaligned_case() {
    Harmless harmless;
    const auto fault = catch_fault([&] { execute_32(Which, harmless.guest.vmcb_pa() | 0x10); });
    stgi();
    expect(fault.is(general_protection), "EAX bit 4 is #GP");
}

} // namespace

#define ADDRESS_CASES(name, text)                                                                            \
    SVM_CASE(name##_bit_0, "svm.enable." #name "_address_bit_0", text " with bit 0 of RAX set is #GP(0)",    \
             "15.5.1", (&bad_address_case<Instruction::name, 1>), )                                          \
    SVM_CASE(name##_bit_4, "svm.enable." #name "_address_bit_4", text " with bit 4 of RAX set is #GP(0)",    \
             "15.5.1", (&bad_address_case<Instruction::name, 0x10>), )                                       \
    SVM_CASE(name##_bit_11, "svm.enable." #name "_address_bit_11", text " with bit 11 of RAX set is #GP(0)", \
             "15.5.1", (&bad_address_case<Instruction::name, 0x800>), )                                      \
    SVM_CASE(name##_unaligned, "svm.enable." #name "_address_unaligned",                                     \
             text " with each of the bits 11:0 of RAX set is #GP(0)", "15.5.1",                              \
             &unaligned_each_case<Instruction::name>, )                                                      \
    SVM_CASE(name##_bit_52, "svm.enable." #name "_address_bit_52", text " with bit 52 of RAX set is #GP(0)", \
             "15.5.1", (&bad_address_case<Instruction::name, std::uint64_t{1} << 52>), )                     \
    SVM_CASE(name##_bit_63, "svm.enable." #name "_address_bit_63", text " with bit 63 of RAX set is #GP(0)", \
             "15.5.1", (&bad_address_case<Instruction::name, std::uint64_t{1} << 63>), )                     \
    SVM_CASE(name##_beyond, "svm.enable." #name "_address_beyond",                                           \
             text " with each bit above the physical address size is #GP(0)", "15.5.1",                      \
             &beyond_case<Instruction::name>, )                                                              \
    SVM_CASE(name##_ones, "svm.enable." #name "_address_all_ones", text " with all ones in RAX is #GP(0)",   \
             "15.5.1", (&bad_address_case<Instruction::name, ~std::uint64_t{0}>), )                          \
    SVM_CASE(name##_address_size, "svm.enable." #name "_address_size_32",                                    \
             text " with a 32-bit address size takes EAX", "15.5.1",                                         \
             &address_size_case<Instruction::name>, )                                                        \
    SVM_CASE(name##_address_size_bad, "svm.enable." #name "_address_size_32_unaligned",                      \
             text " with a 32-bit address size and bit 4 of EAX set is #GP(0)", "15.5.1",                    \
             &address_size_unaligned_case<Instruction::name>, )
ADDRESS_CASES(vmrun, "VMRUN")
ADDRESS_CASES(vmload, "VMLOAD")
ADDRESS_CASES(vmsave, "VMSAVE")

SVM_TEST(bad_vmrun_gif, "svm.enable.vmrun_fault_gif", "A VMRUN that faults is no exit: GIF stays 1",
         "15.5.1") {
    stgi();
    guest::disable_interrupts();
    const auto fault = catch_fault([] { vmrun(0x1001); });
    expect(fault.is(general_protection), "VMRUN with bit 0 of RAX set is #GP");
    expect_equal(gif_is_set(), true, "GIF after the #GP");
}

// INVLPGA's address is a linear one: it has no page to be checked for.
SVM_TEST(invlpga_runs, "svm.enable.invlpga", "INVLPGA runs for any address and ASID", "15.16.2") {
    const auto last = guest::cpuid(0x8000'000a, 0).ebx - 1;
    const std::uint64_t addresses[] = {
        0, 0x1000, 0x10'0001, 0x7fff'ffff'f000, 0xffff'8000'0000'0000, ~std::uint64_t{0}};
    for (const auto address : addresses)
        for (const std::uint32_t asid : {0U, 1U, last}) {
            const auto fault = catch_fault([&] { invlpga(address, asid); });
            expect(!fault.raised, conform::Text{"INVLPGA of ", conform::Hex{address}, ", ASID ", asid});
        }
}
SVM_TEST(invlpga_own, "svm.enable.invlpga_own_asid", "INVLPGA with ASID 0 drops L1's own translation",
         "15.16.2") {
    // An own PML4 entry's worth of addresses, mapped by one 4 KiB page table.
    auto* const pml4 = guest::pointer_to<std::uint64_t>(guest::control_register<3>() & npt_bit::address);
    auto* const pdpt = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const directory = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const one = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const two = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    *one = 0x1111;
    *two = 0x2222;
    pml4[100] = conform::physical(pdpt) | 7;
    pdpt[0] = conform::physical(directory) | 7;
    directory[0] = conform::physical(table) | 7;
    table[0] = conform::physical(one) | 7;
    const auto address = std::uint64_t{100} << 39;
    const auto* const at = guest::pointer_to<const volatile std::uint64_t>(address);
    expect_equal(*at, 0x1111U, "the page mapped at first");
    guest::store(table[0], conform::physical(two) | 7);
    invlpga(address, 0);
    expect_equal(*at, 0x2222U, "the page mapped after INVLPGA");
}

} // namespace nestbed::svm
