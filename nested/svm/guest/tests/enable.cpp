// Who may use SVM's instructions: EFER.SVME, CPL and what CPUID shows.
#include <initializer_list>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using guest::catch_fault;
using guest::Fault;
namespace efer_bit = msr::efer_bit;

namespace {

constexpr std::uint8_t invalid_opcode = 6;
constexpr std::uint8_t general_protection = 13;

extern "C" const char enable_vmrun[], enable_vmload[], enable_vmsave[], enable_stgi[], enable_clgi[],
    enable_skinit[], enable_invlpga[], enable_vmmcall[];
asm(".pushsection .text\n"
    "enable_vmrun: vmrun %rax\n ret\n"
    "enable_vmload: vmload %rax\n ret\n"
    "enable_vmsave: vmsave %rax\n ret\n"
    "enable_stgi: stgi\n ret\n"
    "enable_clgi: clgi\n ret\n"
    "enable_skinit: skinit %eax\n ret\n"
    "enable_invlpga: invlpga %rax, %ecx\n ret\n"
    "enable_vmmcall: vmmcall\n ret\n"
    ".popsection");

// `code` is one of the above; its instruction is the first.
void call(const char* code, std::uint64_t rax) {
    std::uint64_t target = reinterpret_cast<std::uint64_t>(code);
    asm volatile("call *%1" : "+a"(rax) : "r"(target), "c"(1) : "memory", "cc");
}

void expect_fault(const Fault& fault, std::uint8_t vector, const char* code, const char* what) {
    if (!expect(fault.raised, conform::Text{what, " raises an exception"}))
        return;
    expect_equal(fault.vector, vector, conform::Text{"the vector that ", what, " raises"});
    expect_equal(fault.error_code, 0U, conform::Text{"the error code that ", what, " raises"});
    expect_equal(fault.rip, reinterpret_cast<std::uint64_t>(code), "the RIP of that exception");
}

void clear_svme() {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) & ~efer_bit::svme);
}
void set_svme() {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) | efer_bit::svme);
}

bool has_skinit() {
    return (guest::cpuid(0x8000'0001, 0).ecx >> 12 & 1) != 0;
}

// A page that VMLOAD and VMSAVE may have: what L1 is now.
std::uint64_t harmless_vmcb() {
    auto& vmcb = conform::allocate<Vmcb>();
    conform::copy_page(&vmcb, this_host().state);
    return conform::physical(&vmcb);
}

template<const char* Code>
void undefined_without_svme() {
    const auto vmcb = harmless_vmcb();
    clear_svme();
    const auto fault = catch_fault([&] { call(Code, vmcb); });
    set_svme();
    expect_fault(fault, invalid_opcode, Code, "the instruction with EFER.SVME = 0");
}

template<const char* Code>
void undefined_without_svme_or_skinit() {
    if (has_skinit())
        return conform::not_applicable("the vCPU has SKINIT: STGI and SKINIT do without EFER.SVME");
    undefined_without_svme<Code>();
}

template<const char* Code>
void protected_at_cpl_3() {
    const auto vmcb = harmless_vmcb();
    auto body = [&] { call(Code, vmcb); };
    const auto fault = catch_fault(
        [&] { guest::run_in_user_mode([](void* at) { (*static_cast<decltype(body)*>(at))(); }, &body); });
    expect_fault(fault, general_protection, Code, "the instruction at CPL 3");
}

// CPL is checked before the intercept (15.7): L1 does not see the exit.
template<const char* Code>
void protected_at_cpl_3_in_l2(Intercept intercept) {
    const auto vmcb = harmless_vmcb();
    L2 guest;
    guest.intercept(intercept);
    Fault fault;
    auto code = [&] { fault = catch_fault([&] { conform::in_ring_3([&] { call(Code, vmcb); }); }); };
    guest.start(code);
    guest.run_to_end();
    expect_fault(fault, general_protection, Code, "the instruction at CPL 3 in L2");
}
template<const char* Code, Intercept Which>
void protected_at_cpl_3_in_l2_case() {
    protected_at_cpl_3_in_l2<Code>(Which);
}

} // namespace

#define WITHOUT_SVME(name, function, text)                                                                   \
    SVM_CASE(name##_without_svme, "svm.enable." #name "_without_svme", text " with EFER.SVME = 0 is #UD",    \
             "15.4", &function<enable_##name>, )
WITHOUT_SVME(vmrun, undefined_without_svme, "VMRUN")
WITHOUT_SVME(vmload, undefined_without_svme, "VMLOAD")
WITHOUT_SVME(vmsave, undefined_without_svme, "VMSAVE")
WITHOUT_SVME(clgi, undefined_without_svme, "CLGI")
WITHOUT_SVME(invlpga, undefined_without_svme, "INVLPGA")
WITHOUT_SVME(stgi, undefined_without_svme_or_skinit, "STGI")
WITHOUT_SVME(skinit, undefined_without_svme_or_skinit, "SKINIT")

#define AT_CPL_3(name, text)                                                                                 \
    SVM_CASE(name##_at_cpl_3, "svm.enable." #name "_at_cpl_3", text " at CPL 3 is #GP(0)", "15.5",           \
             &protected_at_cpl_3<enable_##name>, )                                                           \
    SVM_CASE(name##_at_cpl_3_in_l2, "svm.enable." #name "_at_cpl_3_in_l2",                                   \
             text " at CPL 3 in L2 is #GP(0) though it is intercepted", "15.7",                              \
             (&protected_at_cpl_3_in_l2_case<enable_##name, Intercept::name>), )
AT_CPL_3(vmrun, "VMRUN")
AT_CPL_3(vmload, "VMLOAD")
AT_CPL_3(vmsave, "VMSAVE")
AT_CPL_3(stgi, "STGI")
AT_CPL_3(clgi, "CLGI")
AT_CPL_3(skinit, "SKINIT")
AT_CPL_3(invlpga, "INVLPGA")

// L1 is a guest itself: its VMMCALL calls L0 where L0 wants that, whatever EFER.SVME; else it is a #UD.
// Nothing else may come of it.
SVM_TEST(vmmcall_in_l1, "svm.enable.vmmcall_in_l1", "VMMCALL in L1 returns or is #UD", "15.18") {
    for (const bool svme : {true, false}) {
        if (!svme)
            clear_svme();
        // No hypercall that KVM knows.
        const auto fault = catch_fault([] { call(enable_vmmcall, 0x4e45'5354); });
        set_svme();
        expect(!fault.raised || fault.vector == invalid_opcode,
               conform::Text{"VMMCALL with EFER.SVME = ", svme ? 1 : 0, " returns or is #UD"});
    }
}
SVM_TEST(vmmcall_at_cpl_3, "svm.enable.vmmcall_at_cpl_3",
         "VMMCALL at CPL 3 in L2 leaves, no CPL being checked", "15.18") {
    L2 guest;
    auto code = [&] { conform::in_ring_3([] { call(enable_vmmcall, 0x3333); }); };
    guest.start(code);
    guest.run_to(ExitCode::vmmcall, "VMMCALL at CPL 3");
    expect_equal(guest.save().rax, 0x3333U, "RAX in the VMCB");
    expect_equal(guest.save().cpl, 3U, "CPL in the VMCB");
    guest.skip(3);
    guest.run_to_end();
}
SVM_TEST(vmmcall_not_intercepted, "svm.enable.vmmcall_not_intercepted",
         "VMMCALL in L2 that L1 does not intercept is #UD", "15.18") {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    guest.intercept(Intercept::vmmcall, false);
    Fault fault;
    auto code = [&] {
        fault = catch_fault([] { call(enable_vmmcall, 0x4e45'5354); });
        guest::cpuid(0, 0);
    };
    guest.start(code);
    guest.run_to(ExitCode::cpuid, "L2 comes to its CPUID");
    expect_fault(fault, invalid_opcode, enable_vmmcall, "VMMCALL that is not intercepted");
}

// EFER.SVME itself.

SVM_TEST(svme_off_and_on, "svm.enable.svme_off_and_on", "SVM works after EFER.SVME was cleared and set again",
         "15.4") {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    for (int i = 0; i < 20; ++i) {
        guest.start(code);
        guest.run_to_end();
        clear_svme();
        expect_equal(guest::rdmsr(msr::efer) & efer_bit::svme, 0U, "EFER.SVME after it was cleared");
        set_svme();
        expect_equal(guest::rdmsr(msr::efer) & efer_bit::svme, efer_bit::svme, "EFER.SVME after it was set");
    }
    expect_equal(ran, 20U, "runs of L2");
}
SVM_TEST(svme_hsave, "svm.enable.hsave_survives_svme", "VM_HSAVE_PA keeps its value while EFER.SVME is 0",
         "15.30") {
    const auto before = guest::rdmsr(msr::vm_hsave_pa);
    clear_svme();
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), before, "VM_HSAVE_PA with EFER.SVME = 0");
    set_svme();
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), before, "VM_HSAVE_PA with EFER.SVME = 1 again");
}
SVM_TEST(svme_vmrun_again, "svm.enable.vmrun_after_svme_fault", "A VMRUN that was #UD leaves the VMCB alone",
         "15.4") {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    guest.start(code);
    guest.control().exit_code = 0x4711;
    clear_svme();
    const auto fault = catch_fault([&] { call(enable_vmrun, guest.vmcb_pa()); });
    set_svme();
    expect(fault.is(invalid_opcode), "VMRUN with EFER.SVME = 0 is #UD");
    expect_equal(guest.control().exit_code, 0x4711U, "EXITCODE");
    guest.run_to_end();
    expect_equal(ran, 1U, "runs of L2");
}
SVM_TEST(svme_at_start, "svm.enable.svme_at_start",
         "EFER.SVME is 0 and VM_HSAVE_PA is 0 before software sets them", "15.4", .enable = false) {
    expect_equal(guest::rdmsr(msr::efer) & efer_bit::svme, 0U, "EFER.SVME");
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), 0U, "VM_HSAVE_PA");
}

// MBZ bits of EFER (APM volume 2, 3.1.7).
SVM_TEST(efer_reserved, "svm.enable.efer_reserved_bits",
         "WRMSR of EFER with an MBZ bit is #GP and changes nothing", "3.1.7") {
    const auto before = guest::rdmsr(msr::efer);
    const auto refused = [&](unsigned bit) {
        const auto fault = catch_fault([&] { guest::wrmsr(msr::efer, before | std::uint64_t{1} << bit); });
        expect(fault.is(general_protection), conform::Text{"WRMSR of EFER bit ", bit, " is #GP"});
        expect_equal(guest::rdmsr(msr::efer), before, conform::Text{"EFER after bit ", bit});
    };
    for (const unsigned bit : {9U, 16U, 19U})
        refused(bit);
    for (unsigned bit = 22; bit < 64; ++bit)
        refused(bit);
}
SVM_TEST(efer_lme_paging, "svm.enable.efer_lme_with_paging", "Clearing EFER.LME with paging on is #GP",
         "14.6") {
    const auto before = guest::rdmsr(msr::efer);
    const auto fault = catch_fault([&] { guest::wrmsr(msr::efer, before & ~efer_bit::lme); });
    expect(fault.is(general_protection), "WRMSR of EFER with LME = 0 is #GP");
    expect_equal(guest::rdmsr(msr::efer), before, "EFER afterwards");
}
// 15.5.1: EFER of L2 is an own one.
SVM_TEST(svme_in_l2, "svm.enable.svme_seen_in_l2", "L2 sees EFER.SVME as the VMCB has it", "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::efer); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, guest.save().efer, "EFER in L2");
    expect_equal(seen & efer_bit::svme, efer_bit::svme, "EFER.SVME in L2");
}

// CPUID (APM volume 3, appendix E.4.9).
SVM_TEST(cpuid_svm, "svm.enable.cpuid", "CPUID shows SVM, a revision and ASIDs", "15.4") {
    expect_equal(guest::cpuid(0x8000'0001, 0).ecx >> 2 & 1, 1U, "CPUID Fn8000_0001 ECX[SVM]");
    expect(guest::cpuid(0x8000'0000, 0).eax >= 0x8000'000a, "CPUID has Fn8000_000A");
    const auto leaf = guest::cpuid(0x8000'000a, 0);
    expect_equal(leaf.eax & 0xff, 1U, "the SVM revision");
    expect_equal(leaf.eax >> 9, 0U, "the reserved bits of EAX");
    expect(leaf.ebx >= 2, "there is an ASID for guests");
    expect_equal(leaf.ecx & 0xf, 0U, "the reserved bits 3:0 of ECX");
    expect_equal(leaf.edx & (1U << 9 | 1U << 22), 0U, "the reserved bits of EDX");
}
SVM_TEST(cpuid_without_svme, "svm.enable.cpuid_without_svme", "CPUID shows SVM whatever EFER.SVME",
         "15.30.1") {
    const auto with = guest::cpuid(0x8000'000a, 0);
    clear_svme();
    expect_equal(guest::cpuid(0x8000'0001, 0).ecx >> 2 & 1, 1U, "CPUID Fn8000_0001 ECX[SVM] with SVME = 0");
    const auto without = guest::cpuid(0x8000'000a, 0);
    set_svme();
    expect_equal(without.eax, with.eax, "Fn8000_000A EAX");
    expect_equal(without.ebx, with.ebx, "Fn8000_000A EBX");
    expect_equal(without.edx, with.edx, "Fn8000_000A EDX");
}
SVM_TEST(cpuid_dependencies, "svm.enable.cpuid_dependencies",
         "CPUID shows no feature without what it stands on", "15.4") {
    const auto edx = guest::cpuid(0x8000'000a, 0).edx;
    const auto has = [edx](unsigned bit) { return (edx >> bit & 1) != 0; };
    expect(!has(12) || has(10), "the PAUSE filter threshold comes with the PAUSE filter (15.14.4)");
    expect(!has(18) || has(13), "x2AVIC comes with AVIC (15.29.10)");
    expect(!has(15) || has(0), "virtual VMLOAD and VMSAVE come with nested paging (15.33.1)");
}

} // namespace nestbed::svm
