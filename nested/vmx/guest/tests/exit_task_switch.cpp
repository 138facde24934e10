// Task switches leave L2 always, before anything of the new task is loaded (SDM volume 3, "Treatment of Task
// Switches"): selector and source in the exit qualification.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"
#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

L2_SNIPPET_32(task_call, "lcall $0x48, $0");
L2_SNIPPET_32(task_jump, "ljmp $0x48, $0");
L2_SNIPPET_32(task_iret, "iretl");
L2_SNIPPET_32(task_int, "int $0x40");
L2_SNIPPET_32(task_ud, "ud2");

constexpr std::uint32_t nested_task = 1U << 14;

// L2's GDT has another task, and an IDT of task gates to it.
void set_up(L2& guest, const Snippet& snippet, bool busy) {
    place_32(guest, snippet);
    auto& context = guest.context();
    const auto task = conform::physical(conform::allocate_pages(1));
    reinterpret_cast<std::uint64_t*>(context.gdt)[other_task / 8] =
        0x67 | (task & 0xff'ffff) << 16 | std::uint64_t{busy ? 0x8bU : 0x89U} << 40 | (task >> 24) << 56;
    // The link of the current task.
    *reinterpret_cast<std::uint16_t*>(context.tss) = other_task;
    auto* const gates = reinterpret_cast<std::uint64_t*>(context.idt);
    for (unsigned i = 0; i < 256; ++i)
        gates[i] = std::uint64_t{other_task} << 16 | std::uint64_t{0xe500} << 32;
}

void leaves(L2& guest, const Snippet& snippet, TaskSwitchSource source, bool has_length) {
    const auto flags = read(Field::guest_rflags);
    if (!guest.run_to(ExitReason::task_switch, "the task switch"))
        return;
    expect_equal(read(Field::exit_qualification), static_cast<std::uint64_t>(source) << 30 | other_task,
                 "exit qualification: source and selector");
    expect_equal(read(Field::guest_rip), snippet.address(), "guest RIP");
    if (has_length)
        expect_equal(read(Field::exit_instruction_length), snippet.end() - snippet.address(),
                     "VM-exit instruction length");
    expect_equal(read(Field::guest_tr_selector), nestbed::wire::task_selector, "TR, still of the old task");
    expect_equal(read(Field::guest_tr_access_rights), 0x8bU, "access rights of TR");
    // RF is that of the event's own image.
    expect_equal(read(Field::guest_rflags) & ~(1U << 16), flags, "guest RFLAGS");
    expect_equal(guest.context().gdt[nestbed::wire::task_selector + 5] & 0xfU, 9U,
                 "type of the old task's descriptor, as it was");
}

} // namespace

VMX_TEST(exit_task_call, "vmx.exit.task_switch_call", "CALL of a task leaves L2 with source 0",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_call, false);
    leaves(guest, task_call, TaskSwitchSource::call, true);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}
VMX_TEST(exit_task_jump, "vmx.exit.task_switch_jmp", "JMP to a task leaves L2 with source 2",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_jump, false);
    leaves(guest, task_jump, TaskSwitchSource::jmp, true);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}
VMX_TEST(exit_task_iret, "vmx.exit.task_switch_iret", "IRET to a task leaves L2 with source 1",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_iret, true);
    set(Field::guest_rflags, nested_task);
    leaves(guest, task_iret, TaskSwitchSource::iret, true);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}
VMX_TEST(
    exit_task_int, "vmx.exit.task_switch_int",
    "INT n through a task gate leaves L2 with source 3, and the interrupt in the IDT-vectoring information",
    "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_int, false);
    leaves(guest, task_int, TaskSwitchSource::task_gate, true);
    expect_equal(read(Field::idt_vectoring_information), event(EventType::software_interrupt, 0x40),
                 "IDT-vectoring information");
}
VMX_TEST(exit_task_fault, "vmx.exit.task_switch_exception",
         "An exception through a task gate leaves L2 with source 3, and the exception as being delivered",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_ud, false);
    leaves(guest, task_ud, TaskSwitchSource::task_gate, false);
    expect_equal(read(Field::idt_vectoring_information), event(EventType::hardware_exception, 6),
                 "IDT-vectoring information");
}
VMX_TEST(exit_task_not_present, "vmx.exit.task_switch_not_present",
         "CALL of a task that is not present is #NP of L2's, not a task switch",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_call, false);
    guest.context().gdt[other_task + 5] &= 0x7f;
    guest.intercept_exception(11);
    expect_exception(guest, task_call, 11, other_task);
}
VMX_TEST(exit_task_busy, "vmx.exit.task_switch_busy", "JMP to a busy task is #GP of L2's, not a task switch",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_jump, true);
    guest.intercept_exception(13);
    expect_exception(guest, task_jump, 13, other_task);
}
VMX_TEST(exit_task_intercepted, "vmx.exit.task_switch_exception_intercepted",
         "The exception bitmap comes before a task gate: L1 gets the exception",
         "Treatment of Task Switches") {
    L2 guest;
    set_up(guest, task_ud, false);
    guest.intercept_exception(6);
    expect_exception(guest, task_ud, 6, 0);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}

} // namespace nestbed::vmx
