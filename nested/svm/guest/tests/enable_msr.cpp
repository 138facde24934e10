// VM_HSAVE_PA and VM_CR.
#include <initializer_list>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using guest::catch_fault;
namespace vm_cr_bit = msr::vm_cr_bit;

namespace {

constexpr std::uint8_t general_protection = 13;

void hsave_refused(std::uint64_t value) {
    const auto before = guest::rdmsr(msr::vm_hsave_pa);
    const auto fault = catch_fault([&] { guest::wrmsr(msr::vm_hsave_pa, value); });
    expect(fault.is(general_protection),
           conform::Text{"WRMSR of VM_HSAVE_PA = ", conform::Hex{value}, " is #GP"});
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), before, "VM_HSAVE_PA afterwards");
}
void hsave_accepted(std::uint64_t value) {
    const auto fault = catch_fault([&] { guest::wrmsr(msr::vm_hsave_pa, value); });
    expect(!fault.raised, conform::Text{"WRMSR of VM_HSAVE_PA = ", conform::Hex{value}, " raises nothing"});
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), value, "VM_HSAVE_PA as read back");
}
void run_once(L2& guest, const char* what) {
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    guest.start(code);
    guest.run_to_end(what);
    expect_equal(ran, 1U, what);
}

} // namespace

SVM_TEST(hsave_low_bits, "svm.enable.hsave_low_bits", "VM_HSAVE_PA with one of the bits 11:0 is #GP",
         "15.30.4") {
    for (unsigned bit = 0; bit < 12; ++bit)
        hsave_refused(conform::physical(this_host().save_area) | 1U << bit);
}
SVM_TEST(hsave_high_bits, "svm.enable.hsave_beyond",
         "VM_HSAVE_PA with one bit above the physical address size is #GP", "15.30.4") {
    for (unsigned bit = physical_address_bits(); bit < 64; ++bit)
        hsave_refused(std::uint64_t{1} << bit);
}
SVM_TEST(hsave_end, "svm.enable.hsave_at_end",
         "VM_HSAVE_PA at the first address beyond the last is #GP, before it not", "15.30.4") {
    const auto end = std::uint64_t{1} << physical_address_bits();
    hsave_refused(end);
    hsave_refused(end + 0x1000);
    hsave_refused(~std::uint64_t{0xfff});
    hsave_accepted(end - 0x1000);
    hsave_accepted(conform::physical(this_host().save_area));
}
SVM_TEST(hsave_reads_back, "svm.enable.hsave_reads_back", "VM_HSAVE_PA reads back what was written",
         "15.30.4") {
    for (const std::uint64_t value : {0x1000U, 0x10'0000U, 0x7fff'f000U, 0xffff'f000U, 0U})
        hsave_accepted(value);
}
SVM_TEST(hsave_without_svme, "svm.enable.hsave_without_svme", "VM_HSAVE_PA is there whatever EFER.SVME",
         "15.30", .enable = false) {
    expect_equal(guest::rdmsr(msr::efer) & msr::efer_bit::svme, 0U, "EFER.SVME");
    hsave_accepted(0x20'0000);
    hsave_refused(0x20'0001);
}
SVM_TEST(hsave_kept, "svm.enable.hsave_kept_by_vmrun", "VM_HSAVE_PA is the same after VMRUN", "15.30.4") {
    L2 guest;
    const auto before = guest::rdmsr(msr::vm_hsave_pa);
    run_once(guest, "L2 runs");
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), before, "VM_HSAVE_PA");
}
SVM_TEST(hsave_moves, "svm.enable.hsave_moves", "VM_HSAVE_PA may be another page at each VMRUN", "15.30.4") {
    L2 guest;
    for (int i = 0; i < 16; ++i) {
        hsave_accepted(conform::physical(conform::allocate_pages(1)));
        run_once(guest, "L2 runs");
    }
}
SVM_TEST(hsave_neighbours, "svm.enable.hsave_neighbours",
         "VMRUN writes nothing beside the page of VM_HSAVE_PA", "15.30.4") {
    auto* const pages = static_cast<std::uint64_t*>(conform::allocate_pages(3));
    for (unsigned i = 0; i < 3 * 512; ++i)
        pages[i] = 0x6e65'6967'6862'6f75;
    hsave_accepted(conform::physical(pages + 512));
    L2 guest;
    run_once(guest, "L2 runs");
    unsigned written = 0;
    for (unsigned i = 0; i < 512; ++i)
        written +=
            (pages[i] != 0x6e65'6967'6862'6f75 ? 1 : 0) + (pages[1024 + i] != 0x6e65'6967'6862'6f75 ? 1 : 0);
    expect_equal(written, 0U, "words written beside the page");
}
// It holds host state only while L2 runs; what it was before is of no use to anybody.
SVM_TEST(hsave_garbage, "svm.enable.hsave_content",
         "What the page of VM_HSAVE_PA held before VMRUN does not matter", "15.5.1") {
    L2 guest;
    for (const std::uint64_t pattern :
         {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x5a5a5a5a5a5a5a5a}}) {
        auto* const words = static_cast<std::uint64_t*>(this_host().save_area);
        for (unsigned i = 0; i < 512; ++i)
            words[i] = pattern;
        run_once(guest, "L2 runs");
    }
}
// Software is "expected to set up this register before issuing the first VMRUN" (15.30.4): a #GP for one that
// did not is as good as taking page 0.
SVM_TEST(hsave_zero, "svm.enable.hsave_zero", "VMRUN with VM_HSAVE_PA = 0 is #GP or runs, and L1 goes on",
         "15.30.4") {
    L2 guest;
    const auto right = guest::rdmsr(msr::vm_hsave_pa);
    guest::wrmsr(msr::vm_hsave_pa, 0);
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    guest.start(code);
    guest::disable_interrupts();
    // With L1's GS, by which the handler of that #GP finds its way.
    const auto fault = catch_fault([&] { probe_vmrun(guest, {.load_guest = false}); });
    stgi();
    guest::wrmsr(msr::vm_hsave_pa, right);
    expect(fault.raised ? fault.is(general_protection) && ran == 0 : guest.at_end() && ran == 1,
           "VMRUN raises #GP and runs nothing, or runs L2 to its end");
    run_once(guest, "L2 runs with VM_HSAVE_PA set right");
}
namespace {
conform::Barrier barrier;
}
SVM_TEST(hsave_each_vcpu, "svm.enable.hsave_each_vcpu", "VM_HSAVE_PA is each vCPU's own", "15.30.4",
         .vcpus = 2) {
    const auto mine = guest::this_vcpu().vcpu;
    hsave_accepted(0x40'0000 + std::uint64_t{mine} * 0x1000);
    barrier.wait();
    expect_equal(guest::rdmsr(msr::vm_hsave_pa), 0x40'0000 + std::uint64_t{mine} * 0x1000,
                 "VM_HSAVE_PA after the other vCPU has set its own");
}

// VM_CR.

SVM_TEST(vm_cr_reads, "svm.enable.vm_cr", "VM_CR is there, with SVM not disabled, whatever EFER.SVME",
         "15.30.1", .enable = false) {
    const auto value = guest::rdmsr(msr::vm_cr);
    expect_equal(value & vm_cr_bit::svmdis, 0U, "VM_CR.SVMDIS");
    expect_equal(value >> 5, 0U, "VM_CR[63:5]");
    enable();
    expect_equal(guest::rdmsr(msr::vm_cr), value, "VM_CR with EFER.SVME = 1");
}
SVM_TEST(vm_cr_reserved, "svm.enable.vm_cr_reserved_bits", "VM_CR with one of the bits 63:5 is #GP",
         "15.30.1") {
    const auto before = guest::rdmsr(msr::vm_cr);
    for (unsigned bit = 5; bit < 64; ++bit) {
        const auto fault = catch_fault([&] { guest::wrmsr(msr::vm_cr, before | std::uint64_t{1} << bit); });
        expect(fault.is(general_protection), conform::Text{"WRMSR of VM_CR bit ", bit, " is #GP"});
        expect_equal(guest::rdmsr(msr::vm_cr), before, "VM_CR afterwards");
    }
}
SVM_TEST(vm_cr_same, "svm.enable.vm_cr_write_back", "VM_CR takes what was read from it", "15.30.1") {
    const auto before = guest::rdmsr(msr::vm_cr);
    const auto fault = catch_fault([&] { guest::wrmsr(msr::vm_cr, before); });
    expect(!fault.raised, "WRMSR of VM_CR with its own value raises nothing");
    expect_equal(guest::rdmsr(msr::vm_cr), before, "VM_CR afterwards");
}
SVM_TEST(vm_cr_svmdis_svme, "svm.enable.svmdis_with_svme", "Setting VM_CR.SVMDIS while EFER.SVME is 1 is #GP",
         "15.30.1") {
    const auto before = guest::rdmsr(msr::vm_cr);
    const auto fault = catch_fault([&] { guest::wrmsr(msr::vm_cr, before | vm_cr_bit::svmdis); });
    expect(fault.is(general_protection), "WRMSR of VM_CR with SVMDIS is #GP");
}
SVM_TEST(vm_cr_svmdis_svme_kept, "svm.enable.svmdis_with_svme_kept",
         "The #GP for VM_CR.SVMDIS while EFER.SVME is 1 leaves VM_CR as it was", "15.30.1") {
    const auto before = guest::rdmsr(msr::vm_cr);
    catch_fault([&] { guest::wrmsr(msr::vm_cr, before | vm_cr_bit::svmdis); });
    expect_equal(guest::rdmsr(msr::vm_cr), before, "VM_CR afterwards");
}
SVM_TEST(vm_cr_svmdis_usable, "svm.enable.svmdis_with_svme_runs",
         "SVM works on after SVMDIS was refused while EFER.SVME is 1", "15.30.1") {
    const auto before = guest::rdmsr(msr::vm_cr);
    catch_fault([&] { guest::wrmsr(msr::vm_cr, before | vm_cr_bit::svmdis); });
    L2 guest;
    run_once(guest, "L2 runs");
}
// Where SVM-Lock is not offered SVMDIS may be read-only (15.31); where it can be set it does what it is for.
SVM_TEST(svmdis_forbids, "svm.enable.svmdis_forbids_svme", "With VM_CR.SVMDIS = 1 EFER.SVME cannot be set",
         "15.30.1", .enable = false) {
    const auto efer = guest::rdmsr(msr::efer);
    catch_fault([] { guest::wrmsr(msr::vm_cr, guest::rdmsr(msr::vm_cr) | vm_cr_bit::svmdis); });
    const bool set = (guest::rdmsr(msr::vm_cr) & vm_cr_bit::svmdis) != 0;
    const auto fault = catch_fault([&] { guest::wrmsr(msr::efer, efer | msr::efer_bit::svme); });
    expect_equal(fault.is(general_protection), set, "WRMSR of EFER.SVME is #GP, as VM_CR.SVMDIS says");
    expect_equal((guest::rdmsr(msr::efer) & msr::efer_bit::svme) == 0, set,
                 "EFER.SVME stays 0, as VM_CR.SVMDIS says");
}
SVM_TEST(svmdis_cpuid, "svm.enable.svmdis_cpuid", "VM_CR.SVMDIS does not take SVM out of CPUID", "15.30.1",
         .enable = false) {
    catch_fault([] { guest::wrmsr(msr::vm_cr, guest::rdmsr(msr::vm_cr) | vm_cr_bit::svmdis); });
    expect_equal(guest::cpuid(0x8000'0001, 0).ecx >> 2 & 1, 1U, "CPUID Fn8000_0001 ECX[SVM]");
}
SVM_TEST(vm_cr_lock, "svm.enable.lock_holds_svmdis",
         "With VM_CR.LOCK = 1 writes to LOCK and SVMDIS are ignored", "15.30.1", .needs = "svm_lock",
         .enable = false) {
    guest::wrmsr(msr::vm_cr, vm_cr_bit::lock);
    expect_equal(guest::rdmsr(msr::vm_cr) & vm_cr_bit::lock, vm_cr_bit::lock, "VM_CR.LOCK after it was set");
    auto fault = catch_fault([] { guest::wrmsr(msr::vm_cr, vm_cr_bit::lock | vm_cr_bit::svmdis); });
    expect(!fault.raised, "writing SVMDIS is silently ignored");
    fault = catch_fault([] { guest::wrmsr(msr::vm_cr, 0); });
    expect(!fault.raised, "writing LOCK = 0 is silently ignored");
    expect_equal(guest::rdmsr(msr::vm_cr) & (vm_cr_bit::lock | vm_cr_bit::svmdis), vm_cr_bit::lock,
                 "VM_CR.LOCK and SVMDIS");
}
SVM_TEST(svm_key, "svm.enable.svm_key", "SVM_KEY unlocks VM_CR with the key that was set, and reads 0",
         "15.31.1", .needs = "svm_lock", .enable = false) {
    constexpr std::uint32_t key = 0xc001'0118;
    guest::wrmsr(key, 0x1234'5678'9abc'def0);
    guest::wrmsr(msr::vm_cr, vm_cr_bit::lock);
    expect_equal(guest::rdmsr(key), 0U, "SVM_KEY as read");
    guest::wrmsr(key, 1);
    expect_equal(guest::rdmsr(msr::vm_cr) & vm_cr_bit::lock, vm_cr_bit::lock, "VM_CR.LOCK after a wrong key");
    guest::wrmsr(key, 0x1234'5678'9abc'def0);
    expect_equal(guest::rdmsr(msr::vm_cr) & vm_cr_bit::lock, 0U, "VM_CR.LOCK after the right key");
}

} // namespace nestbed::svm
