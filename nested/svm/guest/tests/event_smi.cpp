// SMIs around L2 (APM volume 2, 15.13.3, 15.17, 15.22). The handler is RSM alone, where the processor looks
// for it after a reset: at SMBASE 30000h + 8000h, which is plain memory here.
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint64_t handler_at = 0x38000;
constexpr std::uint64_t count_at = 0x38100;

// incw %cs:0x8100 (CS begins at SMBASE), rsm
constexpr std::uint8_t handler_code[] = {0x2e, 0xff, 0x06, 0x00, 0x81, 0x0f, 0xaa};

std::uint16_t smis() {
    return guest::load(*guest::pointer_to<std::uint16_t>(count_at));
}
void smi_self() {
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::smi);
}

// Installs the handler, and says whether SMIs reach it: KVM may be built without SMM.
bool set_up_smm() {
    auto* const handler = guest::pointer_to<std::uint8_t>(handler_at);
    for (std::size_t i = 0; i < sizeof handler_code; ++i)
        handler[i] = handler_code[i];
    guest::store(*guest::pointer_to<std::uint16_t>(count_at), std::uint16_t{0});
    smi_self();
    settle();
    if (smis() == 1)
        return true;
    conform::not_applicable("an SMI that the vCPU sends itself does not arrive: KVM has no SMM");
    return false;
}

struct Registers {
    std::uint64_t cr0, cr3, cr4, efer;
};
Registers control_registers() {
    return {guest::control_register<0>(), guest::control_register<3>(), guest::control_register<4>(),
            guest::rdmsr(0xc000'0080)};
}
void expect_same(const Registers& now, const Registers& before, const char* whose) {
    expect_equal(now.cr0, before.cr0, conform::Text{whose, " CR0"});
    expect_equal(now.cr3, before.cr3, conform::Text{whose, " CR3"});
    expect_equal(now.cr4, before.cr4, conform::Text{whose, " CR4"});
    expect_equal(now.efer, before.efer, conform::Text{whose, " EFER"});
}

// L2 sends the SMI: it goes to SMM and comes back to L2, which must not notice.
template<bool paging>
void smi_in_l2() {
    if (!set_up_smm())
        return;
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    const auto l1 = control_registers();
    const auto self = guest::this_vcpu().apic_id;
    std::uint16_t seen = 0;
    Registers before{};
    Registers after{};
    auto code = [&] {
        before = control_registers();
        send_event_from_l2(self, guest::apic::Delivery::smi);
        settle();
        seen = smis();
        after = control_registers();
    };
    guest.start(code);
    guest.run_to_end("L2 goes on behind the SMI");
    expect_equal(seen, 2U, "SMIs by then");
    expect_same(after, before, "L2's");
    expect_same(control_registers(), l1, "L1's");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(gif_is_set(), true, "GIF in L1, after STGI");
    L2 next;
    auto nothing = [] {};
    next.start(nothing);
    next.run_to_end("another L2 runs");
}

} // namespace

SVM_CASE(event_smi_in_l2, "svm.event.smi_not_intercepted", "An SMI in L2 goes to SMM and back to L2",
         "15.13.3", &smi_in_l2<false>)
SVM_CASE(event_smi_in_l2_npt, "svm.event.smi_not_intercepted_npt",
         "An SMI in L2 goes to SMM and back to L2, with nested paging", "15.13.3", &smi_in_l2<true>,
         .needs = "npt")
SVM_TEST(event_smi_intercepted, "svm.event.smi_intercepted",
         "An intercepted SMI leaves L2 by SMI, and SMM has it at STGI", "15.13.3") {
    if (!set_up_smm())
        return;
    L2 guest;
    guest.intercept(Intercept::smi);
    auto code = [] {};
    guest.start(code);
    const auto rip = guest.save().rip;
    clgi();
    smi_self();
    guest.run_to(ExitCode::smi, "a pending SMI");
    expect_equal(guest.save().rip, rip, "RIP");
    settle();
    expect_equal(smis(), 2U, "SMIs after STGI");
    guest.run_to_end();
}
SVM_TEST(event_smi_gif, "svm.event.gif_holds_smi", "An SMI waits while GIF=0, and comes once at STGI",
         "15.17") {
    if (!set_up_smm())
        return;
    clgi();
    smi_self();
    settle();
    expect_equal(smis(), 1U, "SMIs with GIF=0");
    stgi();
    settle();
    expect_equal(smis(), 2U, "SMIs after STGI");
}
SVM_TEST(event_smi_20, "svm.event.smi_20_in_l2", "L2 goes on behind each of twenty SMIs", "15.13.3") {
    if (!set_up_smm())
        return;
    L2 guest;
    guest.intercept(Intercept::cpuid);
    const auto self = guest::this_vcpu().apic_id;
    auto code = [&] {
        for (;;) {
            send_event_from_l2(self, guest::apic::Delivery::smi);
            settle();
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (unsigned i = 0; i < 20; ++i) {
        if (!guest.run_to(ExitCode::cpuid, conform::Text{"SMI ", i}))
            return;
        expect_equal(smis(), i + 2, "SMIs");
        guest.skip(2);
    }
}
SVM_TEST(event_smi_inject, "svm.event.smi_with_inject",
         "An SMI pending at a VMRUN with EVENTINJ costs neither", "15.20") {
    if (!set_up_smm())
        return;
    L2 guest;
    auto code = [] { settle(); };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x40);
    clgi();
    smi_self();
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x40], 1U, "injected interrupts that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(smis(), 2U, "SMIs");
}

} // namespace nestbed::svm
