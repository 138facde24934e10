// Virtual GIF (APM volume 2, 15.33.2): STGI and CLGI of L2 that do not leave, and what V_GIF=0 holds back.
#include "core/guest/apic.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

L2_CODE(l2_vgif_stgi, 64, "stgi; vmmcall");
L2_CODE(l2_vgif_clgi, 64, "clgi; vmmcall");
L2_CODE(l2_vgif_both, 64, "clgi; stgi; vmmcall");
L2_CODE(l2_vgif_exit, 64, "vmmcall");
L2_CODE(l2_vgif_sti, 64, "sti; nop; nop; vmmcall");
L2_CODE(l2_vgif_sti_stgi, 64, "sti; nop; nop; stgi; nop; vmmcall");

namespace {

constexpr std::uint8_t vector = 0x71;

void use_vgif(L2& guest, bool gif) {
    guest.control().int_ctl |= int_ctl::vgif_enable | (gif ? int_ctl::vgif : 0);
}
bool gif_of(L2& guest) {
    return (guest.control().int_ctl & int_ctl::vgif) != 0;
}
void in_out(const char* code, bool in, bool out) {
    L2 guest;
    use_vgif(guest, in);
    start_blob(guest, code);
    guest.run_to(ExitCode::vmmcall, "neither STGI nor CLGI leaves");
    expect_equal(gif_of(guest), out, "V_GIF after the exit");
    expect_equal(guest.control().int_ctl & int_ctl::vgif_enable, int_ctl::vgif_enable,
                 "V_GIF_ENABLE after the exit");
}
void pend_virtual_interrupt(L2& guest) {
    guest.control().int_ctl |= int_ctl::v_irq | int_ctl::v_ign_tpr | 1U << int_ctl::v_intr_prio_shift;
    guest.control().int_vector = vector;
}

} // namespace

#define GIF_CASE(name, code, in, out)                                                                        \
    SVM_TEST(vgif_##name, "svm.optional.vgif_" #name, "V_GIF goes into L2 and comes out as L2 left it",      \
             "15.33.2", .needs = "vgif") {                                                                   \
        in_out(code, in, out);                                                                               \
    }
GIF_CASE(kept_0, l2_vgif_exit, false, false)
GIF_CASE(kept_1, l2_vgif_exit, true, true)
GIF_CASE(stgi_from_0, l2_vgif_stgi, false, true)
GIF_CASE(stgi_from_1, l2_vgif_stgi, true, true)
GIF_CASE(clgi_from_0, l2_vgif_clgi, false, false)
GIF_CASE(clgi_from_1, l2_vgif_clgi, true, false)
GIF_CASE(clgi_stgi, l2_vgif_both, true, true)
#undef GIF_CASE

SVM_TEST(vgif_stgi_intercepted, "svm.optional.vgif_stgi_intercepted",
         "STGI that L1 intercepts leaves though V_GIF is enabled, and V_GIF stays", "15.33.2",
         .needs = "vgif") {
    L2 guest;
    use_vgif(guest, false);
    guest.intercept(Intercept::stgi);
    start_blob(guest, l2_vgif_stgi);
    guest.run_to(ExitCode::stgi, "STGI is intercepted");
    expect_equal(gif_of(guest), false, "V_GIF after the exit");
    expect_equal(guest.save().rip, address_of(l2_vgif_stgi), "VMCB.RIP");
}
SVM_TEST(vgif_clgi_intercepted, "svm.optional.vgif_clgi_intercepted",
         "CLGI that L1 intercepts leaves though V_GIF is enabled, and V_GIF stays", "15.33.2",
         .needs = "vgif") {
    L2 guest;
    use_vgif(guest, true);
    guest.intercept(Intercept::clgi);
    start_blob(guest, l2_vgif_clgi);
    guest.run_to(ExitCode::clgi, "CLGI is intercepted");
    expect_equal(gif_of(guest), true, "V_GIF after the exit");
    expect_equal(guest.save().rip, address_of(l2_vgif_clgi), "VMCB.RIP");
}
SVM_TEST(vgif_intercept_no_vgif, "svm.optional.vgif_stgi_intercepted_not_enabled",
         "STGI and CLGI that L1 intercepts leave with V_GIF not enabled", "15.9", .needs = "vgif") {
    L2 guest;
    guest.intercept(Intercept::stgi);
    guest.intercept(Intercept::clgi);
    start_blob(guest, l2_vgif_stgi);
    guest.run_to(ExitCode::stgi, "STGI is intercepted");
    start_blob(guest, l2_vgif_clgi);
    guest.run_to(ExitCode::clgi, "CLGI is intercepted");
}
SVM_TEST(vgif_holds_virq, "svm.optional.vgif_0_holds_virtual_interrupt",
         "V_GIF=0 holds a virtual interrupt back though IF=1", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, false);
    warm_up(guest);
    pend_virtual_interrupt(guest);
    start_blob(guest, l2_vgif_sti);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().interrupts[vector], 0U, "times that L2 took the interrupt");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, int_ctl::v_irq, "V_IRQ after the exit");
}
SVM_TEST(vgif_lets_virq, "svm.optional.vgif_1_lets_virtual_interrupt",
         "V_GIF=1 lets a virtual interrupt through, and V_IRQ is clear then", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, true);
    warm_up(guest);
    pend_virtual_interrupt(guest);
    start_blob(guest, l2_vgif_sti);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "times that L2 took the interrupt");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, 0U, "V_IRQ after the exit");
}
SVM_TEST(vgif_stgi_lets_virq, "svm.optional.vgif_stgi_lets_virtual_interrupt",
         "STGI of L2 lets the virtual interrupt through that V_GIF=0 held back", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, false);
    warm_up(guest);
    pend_virtual_interrupt(guest);
    start_blob(guest, l2_vgif_sti_stgi);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "times that L2 took the interrupt");
    const auto rip = guest.context().last.rip;
    expect(rip > address_of(l2_vgif_sti_stgi) + 3 && rip <= address_of(l2_vgif_sti_stgi) + 7,
           "L2 took it behind STGI");
}
SVM_TEST(vgif_vintr_window, "svm.optional.vgif_0_holds_vintr_exit",
         "V_GIF=0 holds the VINTR exit back until L2's STGI", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, false);
    guest.intercept(Intercept::vintr);
    warm_up(guest);
    pend_virtual_interrupt(guest);
    start_blob(guest, l2_vgif_sti_stgi);
    guest.run_to(ExitCode::vintr, "the virtual interrupt is intercepted");
    expect(guest.save().rip > address_of(l2_vgif_sti_stgi) + 3, "VMCB.RIP is behind STGI");
    expect_equal(gif_of(guest), true, "V_GIF after the exit");
}
SVM_TEST(vgif_event_inj, "svm.optional.vgif_0_lets_injection",
         "An injected event is not held back by V_GIF=0", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, false);
    guest.save().rflags |= 1U << 9;
    auto code = [] {};
    warm_up(guest);
    guest.start(code);
    guest.control().event_inj = event(EventType::interrupt, vector);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[vector], 1U, "times that L2 took the event");
}
namespace {
std::uint32_t physical_interrupts;
}
SVM_TEST(vgif_physical, "svm.optional.vgif_0_lets_physical_interrupt",
         "V_GIF=0 does not hold a physical interrupt back: it leaves for L1", "15.33.2", .needs = "vgif") {
    guest::set_interrupt_handler(vector, [](std::uint64_t) { guest::add(physical_interrupts, 1U); });
    L2 guest;
    use_vgif(guest, false);
    guest.save().rflags |= 1U << 9;
    auto code = [] {
        for (int i = 0; i < 100000; ++i)
            guest::pause();
    };
    guest.start(code);
    guest::disable_interrupts();
    guest::apic::write(
        guest::apic::Register::interrupt_command,
        guest::apic::command(0, guest::apic::Shorthand::self, guest::apic::Delivery::fixed, vector));
    guest.run_to(ExitCode::intr, "the physical interrupt is intercepted");
    expect_equal(guest::load(physical_interrupts), 0U, "times that L1 took it with IF=0");
    guest::enable_interrupts();
    for (int i = 0; i < 1000 && guest::load(physical_interrupts) == 0; ++i)
        guest::pause();
    expect_equal(guest::load(physical_interrupts), 1U, "times that L1 took it");
    expect_equal(gif_of(guest), false, "V_GIF after the exit");
}
SVM_TEST(vgif_not_l1, "svm.optional.vgif_not_of_l1",
         "L2's CLGI on V_GIF does not touch L1's GIF after its STGI", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, true);
    start_blob(guest, l2_vgif_clgi);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(gif_is_set(), true, "GIF of L1 after its STGI");
}
SVM_TEST(vgif_l1_gif, "svm.optional.vgif_1_gif_after_exit",
         "V_GIF=1 of L2 leaves GIF 0 for L1 after the exit", "15.33.2", .needs = "vgif") {
    L2 guest;
    use_vgif(guest, true);
    start_blob(guest, l2_vgif_stgi);
    vmrun_refused(guest); // enters without STGI behind it
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(gif_is_set(), false, "GIF right after the exit");
}
SVM_TEST(vgif_two, "svm.optional.vgif_two_guests", "Two guests in turn have a V_GIF each", "15.33.2",
         .needs = "vgif") {
    L2 guests[2];
    use_vgif(guests[0], true);
    use_vgif(guests[1], false);
    for (unsigned i = 0; i < 4; ++i) {
        start_blob(guests[i % 2], l2_vgif_exit);
        guests[i % 2].run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
        expect_equal(gif_of(guests[i % 2]), i % 2 == 0, "V_GIF after the exit");
    }
}
SVM_TEST(vgif_mixed, "svm.optional.vgif_next_to_guest_without",
         "A guest without V_GIF takes its virtual interrupt after one with V_GIF=0", "15.33.2",
         .needs = "vgif") {
    L2 with;
    L2 without;
    use_vgif(with, false);
    start_blob(with, l2_vgif_exit);
    with.run_to(ExitCode::vmmcall, "the guest with V_GIF leaves by VMMCALL");
    warm_up(without);
    pend_virtual_interrupt(without);
    start_blob(without, l2_vgif_sti);
    without.run_to(ExitCode::vmmcall, "the guest without leaves by VMMCALL");
    expect_equal(without.context().interrupts[vector], 1U, "times that it took the interrupt");
}
SVM_TEST(vgif_not_enabled, "svm.optional.vgif_bit_not_enabled",
         "V_GIF=0 with V_GIF_ENABLE=0 holds no virtual interrupt back", "15.33.2") {
    L2 guest;
    warm_up(guest);
    pend_virtual_interrupt(guest);
    start_blob(guest, l2_vgif_sti);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "times that L2 took the interrupt");
}

} // namespace nestbed::svm
