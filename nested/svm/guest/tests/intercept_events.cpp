// Intercepts of events that no instruction of L2's causes: INTR, NMI and VINTR; and of task switches.
#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/snippet.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

namespace apic = guest::apic;

constexpr std::uint8_t vector = 0x52;
constexpr std::uint64_t rflags_if = 1U << 9;
std::uint32_t taken_by_l1;

L2_SNIPPET(event_nop, 64, "nop");

// An interrupt of L1's own, held back by GIF until VMRUN.
void pend_interrupt() {
    guest::set_interrupt_handler(vector, [](std::uint64_t) { guest::add(taken_by_l1, 1U); });
    clgi();
    apic::write(apic::Register::interrupt_command,
                apic::command(0, apic::Shorthand::self, apic::Delivery::fixed, vector));
}
void pend_nmi() {
    clgi();
    apic::write(apic::Register::interrupt_command,
                apic::command(static_cast<std::uint32_t>(apic::read(apic::Register::id)),
                              apic::Shorthand::none, apic::Delivery::nmi, 0));
}
// An interrupt that L1 still has to take comes soon after GIF and IF are 1 again.
void let_in() {
    guest::enable_interrupts();
    for (int i = 0; i < 100'000 && guest::load(taken_by_l1) == 0; ++i)
        guest::pause();
}

struct Masking {
    bool virtual_masking; // V_INTR_MASKING
    bool l1_if;
    bool l2_if;
};

// 15.13.1: with V_INTR_MASKING the IF at VMRUN decides over physical interrupts, without it L2's does.
template<Masking masking, bool exits>
void intr() {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    if (masking.virtual_masking)
        guest.control().int_ctl |= int_ctl::v_intr_masking;
    if (masking.l2_if)
        guest.save().rflags |= rflags_if;
    const auto before = state_of(guest);
    if (!masking.l1_if)
        guest::disable_interrupts();
    pend_interrupt();
    if (exits) {
        guest.run_to(ExitCode::intr, "an interrupt that is pending at VMRUN");
        expect_untouched(guest, before, "INTR");
        expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    } else {
        run_past(guest, event_nop, Mode::long64, "an interrupt that is masked");
    }
    if (!masking.l1_if)
        expect_equal(guest::load(taken_by_l1), 0U, "interrupts that L1 took with IF 0");
    let_in();
    expect_equal(guest::load(taken_by_l1), 1U, "interrupts that L1 took afterwards");
    expect_equal(guest.context().delivered, 0U, "events that L2's own handlers saw");
}

} // namespace

// NOLINTBEGIN
#define INTR_CASE(id, masking, l1_if, l2_if, exits, title)                                                   \
    SVM_CASE(intr_##id, "svm.intercept.intr_" #id, title, "15.13.1 and 15.21.1",                             \
             (&intr<Masking{masking, l1_if, l2_if}, exits>))
// NOLINTEND
INTR_CASE(exits, false, true, true, true, "a pending interrupt leaves L2 before its first instruction");
INTR_CASE(l1_if_ignored, false, false, true, true, "without V_INTR_MASKING L2's IF decides, L1's does not");
INTR_CASE(l2_if_clear, false, true, false, false,
          "without V_INTR_MASKING an interrupt waits while L2's IF is 0");
INTR_CASE(masking_exits, true, true, true, true,
          "with V_INTR_MASKING an interrupt leaves L2 where L1's IF is 1");
INTR_CASE(masking_l2_if_ignored, true, true, false, true,
          "with V_INTR_MASKING L1's IF decides, L2's does not");
INTR_CASE(masking_l1_if_clear, true, false, true, false,
          "with V_INTR_MASKING an interrupt waits where L1's IF is 0");

// The manual says that a shadow holds interrupts back, and leaves open whether it also holds back the exit
// that takes their place; KVM lets the exit through at once. Either way RIP and shadow tell the same story.
SVM_TEST(
    intr_shadow, "svm.intercept.intr_shadow",
    "after INTR with an interrupt shadow at VMRUN, the shadow is there if and only if no instruction has run",
    "15.21.5") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    guest.control().interrupt_shadow = 1;
    pend_interrupt();
    guest.run_to(ExitCode::intr, "an interrupt in the shadow");
    const bool at_once = guest.save().rip == reinterpret_cast<std::uint64_t>(event_nop.at);
    expect(at_once || guest.save().rip == reinterpret_cast<std::uint64_t>(event_nop.after),
           "RIP: at the first instruction or the second");
    expect_equal(guest.control().interrupt_shadow & 1, at_once ? 1U : 0U, "INTERRUPT_SHADOW after the exit");
}
SVM_TEST(intr_not_intercepted, "svm.intercept.intr_not_intercepted",
         "an interrupt that L1 does not intercept is L2's own", "15.13.1") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    pend_interrupt();
    run_past(guest, event_nop, Mode::long64, "INTR");
    expect_equal(guest.context().interrupts[vector], 1U, "times that L2's handler ran");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(event_nop.at), "RIP in the frame");
    guest::enable_interrupts();
    for (int i = 0; i < 1000; ++i)
        guest::pause();
    expect_equal(guest::load(taken_by_l1), 0U, "times that L1's handler ran");
}

SVM_TEST(nmi_exits, "svm.intercept.nmi_exits",
         "a pending NMI leaves L2 before its first instruction, and L1 takes it", "15.13.2") {
    L2 guest;
    const auto before = place(guest, event_nop, Mode::long64);
    guest.intercept(Intercept::nmi);
    pend_nmi();
    guest.run_to(ExitCode::nmi, "an NMI that is pending at VMRUN");
    expect_untouched(guest, before, "NMI");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    for (int i = 0; i < 100'000 && guest::load(guest::this_vcpu().nmis) == 0; ++i)
        guest::pause();
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs that L1 took");
    expect_equal(guest.context().delivered, 0U, "events that L2's own handlers saw");
}
SVM_TEST(nmi_not_intercepted, "svm.intercept.nmi_not_intercepted",
         "an NMI that L1 does not intercept is L2's own", "15.13.2") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    pend_nmi();
    run_past(guest, event_nop, Mode::long64, "NMI");
    expect_equal(guest.context().exceptions[2], 1U, "times that L2's NMI handler ran");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(event_nop.at), "RIP in the frame");
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 took");
}
SVM_TEST(nmi_before_intr, "svm.intercept.nmi_before_intr", "of an NMI and an interrupt the NMI leaves first",
         "15.13 and 8.5") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    guest.intercept(Intercept::nmi);
    guest::disable_interrupts();
    pend_interrupt();
    pend_nmi();
    guest.run_to(ExitCode::nmi, "NMI and INTR");
    guest.run_to(ExitCode::intr, "INTR, which is still pending");
}

// VINTR: when L2 would take its virtual interrupt (15.21.4).
namespace {
constexpr std::uint8_t virtual_vector = 0x61;
void virtual_interrupt(L2& guest, unsigned priority, unsigned tpr = 0) {
    guest.control().int_ctl =
        int_ctl::v_irq | int_ctl::v_intr_masking | priority << int_ctl::v_intr_prio_shift | tpr;
    guest.control().int_vector = virtual_vector;
}
} // namespace
SVM_TEST(vintr_exits, "svm.intercept.vintr_exits",
         "a virtual interrupt that L2 is ready to take leaves it, untaken", "15.21.4") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    const auto before = state_of(guest);
    virtual_interrupt(guest, 6);
    guest.intercept(Intercept::vintr);
    guest.run_to(ExitCode::vintr, "V_IRQ");
    expect_untouched(guest, before, "VINTR");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, int_ctl::v_irq, "V_IRQ: still pending");
    expect_equal(guest.context().delivered, 0U, "events that L2's own handlers saw");
}
SVM_TEST(vintr_if_clear, "svm.intercept.vintr_if_clear",
         "with L2's IF 0 a virtual interrupt waits, intercepted or not", "15.21.4") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    virtual_interrupt(guest, 6);
    guest.intercept(Intercept::vintr);
    run_past(guest, event_nop, Mode::long64, "V_IRQ with IF 0");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, int_ctl::v_irq, "V_IRQ: still pending");
}
// 15.21.2: taken only where V_INTR_PRIO is above V_TPR.
namespace {
template<unsigned priority, unsigned tpr, bool taken>
void vintr_by_priority() {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    virtual_interrupt(guest, priority, tpr);
    guest.intercept(Intercept::vintr);
    if (taken)
        guest.run_to(ExitCode::vintr, "V_IRQ above V_TPR");
    else
        run_past(guest, event_nop, Mode::long64, "V_IRQ not above V_TPR");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, int_ctl::v_irq, "V_IRQ: still pending");
}
} // namespace
SVM_CASE(vintr_tpr_same, "svm.intercept.vintr_tpr_same", "a virtual interrupt of V_TPR's own priority waits",
         "15.21.2", (&vintr_by_priority<6, 6, false>));
SVM_CASE(vintr_tpr_above, "svm.intercept.vintr_tpr_above",
         "a virtual interrupt of lower priority than V_TPR waits", "15.21.2",
         (&vintr_by_priority<5, 6, false>));
SVM_CASE(vintr_tpr_below, "svm.intercept.vintr_tpr_below",
         "a virtual interrupt of higher priority than V_TPR leaves L2", "15.21.2",
         (&vintr_by_priority<7, 6, true>));
L2_SNIPPET(event_sti, 64, "sti; nop; nop");
SVM_TEST(vintr_window, "svm.intercept.vintr_window", "VINTR leaves L2 one instruction after STI", "15.21.4") {
    L2 guest;
    place(guest, event_sti, Mode::long64);
    virtual_interrupt(guest, 6);
    guest.intercept(Intercept::vintr);
    guest.run_to(ExitCode::vintr, "V_IRQ after STI");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(event_sti.at) + 2,
                 "RIP: after the instruction that STI shields");
    expect_equal(guest.save().rflags & rflags_if, rflags_if, "RFLAGS.IF");
    expect_equal(guest.control().interrupt_shadow & 1, 0U, "INTERRUPT_SHADOW");
}
SVM_TEST(vintr_not_intercepted, "svm.intercept.vintr_not_intercepted",
         "a virtual interrupt that is not intercepted is taken by L2", "15.21.4") {
    L2 guest;
    place(guest, event_nop, Mode::long64);
    guest.save().rflags |= rflags_if;
    virtual_interrupt(guest, 6);
    run_past(guest, event_nop, Mode::long64, "VINTR");
    expect_equal(guest.context().interrupts[virtual_vector], 1U, "times that L2's handler ran");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, 0U, "V_IRQ: taken");
}

// Task switches, in protected mode with tables of L2's own.
namespace {

constexpr std::uint16_t old_task = 0x18;
constexpr std::uint16_t new_task = 0x20;
constexpr std::uint8_t task_vector = 0x35;
constexpr std::uint64_t info2_iret = std::uint64_t{1} << 36;
constexpr std::uint64_t info2_jump = std::uint64_t{1} << 38;
constexpr std::uint64_t info2_error_code = std::uint64_t{1} << 44;

// 32-bit task-state segment (volume 2, figure 12-6), what a switch reads of it.
struct [[gnu::packed]] Task {
    std::uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    std::uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    std::uint32_t es, cs, ss, ds, fs, gs, ldt;
    std::uint16_t trap, map;
};
static_assert(sizeof(Task) == 104);

struct Switch {
    const char* name;
    Snippet code;
    std::uint64_t info2;
    bool by_iret;
    std::uint64_t int_info; // EXITINTINFO
};

struct Tables {
    std::uint64_t gdt[8];
    std::uint64_t idt[256];
    alignas(256) Task tasks[2];
};

std::uint64_t task_descriptor(const Task& task, std::uint64_t type) {
    const auto at = physical(&task);
    return (sizeof(Task) - 1) | (at & 0xff'ffff) << 16 | type << 40 | (at >> 24 & 0xff) << 56;
}

Tables& set_up(L2& guest, const Switch& test) {
    place(guest, test.code, Mode::protected32);
    auto& tables = conform::allocate<Tables>();
    tables.gdt[1] = 0x00cf'9b00'0000'ffff;
    tables.gdt[2] = 0x00cf'9300'0000'ffff;
    tables.gdt[old_task / 8] = task_descriptor(tables.tasks[0], 0x8b);
    tables.gdt[new_task / 8] = task_descriptor(tables.tasks[1], test.by_iret ? 0x8b : 0x89);
    tables.idt[task_vector] = std::uint64_t{0x8500} << 32 | std::uint64_t{new_task} << 16;
    auto& save = guest.save();
    save.gdtr = {0, 0, sizeof tables.gdt - 1, physical(tables.gdt)};
    save.idtr = {0, 0, sizeof tables.idt - 1, physical(tables.idt)};
    save.tr = {old_task, 0x08b, sizeof(Task) - 1, physical(&tables.tasks[0])};
    tables.tasks[0].link = new_task;
    auto& task = tables.tasks[1];
    task.eip = static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(test.code.after));
    task.eflags = 2;
    task.esp = static_cast<std::uint32_t>(physical(conform::allocate_pages(1)) + 4096);
    task.ebx = 0xb0b0'b0b0;
    task.cs = 8;
    task.ss = task.ds = task.es = task.fs = task.gs = 0x10;
    task.map = sizeof(Task);
    if (test.by_iret)
        save.rflags |= 1U << 14; // NT
    return tables;
}

template<const Switch& test>
void task_switch_exits() {
    L2 guest;
    set_up(guest, test);
    const auto before = state_of(guest);
    guest.intercept(Intercept::task_switch);
    if (!guest.run_to(ExitCode::task_switch, test.name))
        return;
    expect_equal(guest.control().exit_info_1, new_task, "EXITINFO1: the new task's selector");
    expect_equal(guest.control().exit_info_2 & (info2_iret | info2_jump | info2_error_code), test.info2,
                 "EXITINFO2: IRET, jump, error code");
    const auto int_info = guest.control().exit_int_info;
    expect_equal((int_info & event_valid) != 0 ? int_info : 0, test.int_info,
                 "EXITINTINFO: the event that led to the task");
    expect_untouched(guest, before, test.name);
}
template<const Switch& test>
void task_switch_executes() {
    L2 guest;
    auto& tables = set_up(guest, test);
    const auto rbx = static_cast<std::uint32_t>(guest.registers.rbx);
    if (!run_past(guest, test.code, Mode::protected32, test.name))
        return;
    expect_equal(guest.save().tr.selector, new_task, "TR: the new task");
    expect_equal(guest.save().tr.base, physical(&tables.tasks[1]), "TR base: the new task");
    expect_equal(guest.registers.rbx, 0xb0b0'b0b0U, "EBX of the new task");
    expect_equal(tables.tasks[0].ebx, rbx, "EBX that was saved in the old task");
    expect_equal(guest.save().cr0 >> 3 & 1, 1U, "CR0.TS");
    const bool nests = (test.info2 & (info2_iret | info2_jump)) == 0;
    expect_equal(guest.save().rflags >> 14 & 1, nests ? 1U : 0U, "RFLAGS.NT");
    expect_equal(tables.gdt[old_task / 8] >> 40 & 0xff, nests ? 0x8bU : 0x89U,
                 "type of the old task: busy or not");
    if (nests)
        expect_equal(tables.tasks[1].link & 0xffff, old_task, "link back to the old task");
}

L2_SNIPPET(task_jump, 32, "ljmp $0x20, $0");
L2_SNIPPET(task_call, 32, "lcall $0x20, $0");
L2_SNIPPET(task_iret, 32, "iret");
L2_SNIPPET(task_int, 32, "int $0x35");
constexpr Switch by_jump{"a far jump", task_jump, info2_jump, false, 0};
constexpr Switch by_call{"a far call", task_call, 0, false, 0};
constexpr Switch by_iret{"IRET with NT", task_iret, info2_iret, true, 0};
constexpr Switch by_int{"INT n", task_int, 0, false, event(EventType::software_interrupt, task_vector)};

} // namespace

// NOLINTBEGIN
#define TASK_SWITCH(id, how)                                                                                 \
    SVM_CASE(task_switch_##id##_exits, "svm.intercept.task_switch_" #id "_exits",                            \
             "a task switch by " how " leaves L2 with selector and kind, and nothing is switched",           \
             "15.14.1", (&task_switch_exits<by_##id>));                                                      \
    SVM_CASE(task_switch_##id##_executes, "svm.intercept.task_switch_" #id "_executes",                      \
             "a task switch by " how " that L1 does not intercept happens in L2", "15.14.1",                 \
             (&task_switch_executes<by_##id>))
// NOLINTEND
TASK_SWITCH(jump, "a far jump");
TASK_SWITCH(call, "a far call");
TASK_SWITCH(iret, "IRET with NT");
TASK_SWITCH(int, "INT n through a task gate");

} // namespace nestbed::svm
