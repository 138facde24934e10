// Events of a legacy guest that go through a task gate: the task switch leaves L2 in the middle of their
// delivery (SDM volume 3, "Task Switches", "Information for VM Exits During Event Delivery").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

#define SECTION "Information for VM Exits During Event Delivery"

L2_CODE(l2_vk_nops, 32, "nop; nop; vmcall");
L2_CODE(l2_vk_int, 32, "int $0x44; vmcall");
L2_CODE(l2_vk_int3, 32, "int3; vmcall");
L2_CODE(l2_vk_ud2, 32, "ud2; vmcall");

constexpr std::uint16_t task = 0x48;

// A 32-bit L2 whose gate of `vector` is a task gate to a task that is there and not busy.
void set_up(L2& guest, const char* code, std::uint8_t vector) {
    set_legacy_paging_mode(guest, address_of(code), code_stack(guest));
    auto* const gdt = reinterpret_cast<std::uint64_t*>(guest.context().gdt);
    const auto tss = conform::physical(conform::allocate_pages(1));
    gdt[task / 8] = 0x67 | (tss & 0xff'ffff) << 16 | std::uint64_t{0x89} << 40 | (tss >> 24 & 0xff) << 56;
    auto* const idt = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    idt[vector] = std::uint64_t{0xe500} << 32 | std::uint64_t{task} << 16; // task gate, DPL 3
    write(Field::guest_idtr_base, conform::physical(idt));
    write(Field::guest_idtr_limit, 0x7ff);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
}

void expect_task_switch(L2& guest, std::uint32_t vectoring, std::uint64_t rip, std::uint64_t length,
                        std::uint64_t error = ~std::uint64_t{0}) {
    if (!guest.run_to(ExitReason::task_switch, "the task switch"))
        return;
    expect_equal(read(Field::exit_qualification), task | std::uint64_t{3} << 30,
                 "exit qualification: selector, task gate in the IDT");
    expect_equal(read(Field::idt_vectoring_information) & ~std::uint64_t{1U << 12}, vectoring,
                 "IDT-vectoring information");
    if (error != ~std::uint64_t{0})
        expect_equal(read(Field::idt_vectoring_error_code), error, "IDT-vectoring error code");
    if (length != 0)
        expect_equal(read(Field::exit_instruction_length), length, "VM-exit instruction length");
    expect_equal(read(Field::guest_rip), rip, "guest RIP");
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U, "VM-entry interruption information");
    // The exit comes before the switch has changed anything.
    expect_equal(read(Field::guest_tr_selector), nestbed::wire::task_selector, "TR");
    expect_equal(reinterpret_cast<std::uint64_t*>(guest.context().gdt)[task / 8] >> 41 & 1, 0U,
                 "busy bit of the new task");
}

void injected(std::uint32_t information, std::uint64_t length, std::uint64_t error = ~std::uint64_t{0}) {
    L2 guest;
    set_up(guest, l2_vk_nops, static_cast<std::uint8_t>(information));
    write(Field::entry_interruption_information, information);
    write(Field::entry_instruction_length, length);
    if (error != ~std::uint64_t{0})
        write(Field::entry_exception_error_code, error);
    expect_task_switch(guest, information, address_of(l2_vk_nops), length, error);
}

void executed(const char* code, std::uint32_t information, std::uint64_t length) {
    L2 guest;
    set_up(guest, code, static_cast<std::uint8_t>(information));
    expect_task_switch(guest, information, address_of(code), length);
}

} // namespace

#define TASK_CASE(name, text, ...)                                                                           \
    VMX_TEST(event_task_##name, "vmx.event.task_gate_" #name,                                                \
             text " through a task gate leaves L2 as a task switch", SECTION) {                              \
        __VA_ARGS__;                                                                                         \
    }
TASK_CASE(interrupt_injected, "An injected external interrupt",
          injected(event(EventType::external_interrupt, 0x41), 0))
TASK_CASE(nmi_injected, "An injected NMI", injected(event(EventType::nmi, 2), 0))
TASK_CASE(ud_injected, "Injected #UD", injected(event(EventType::hardware_exception, 6), 0))
TASK_CASE(gp_injected, "Injected #GP with its error code",
          injected(event_with_error_code(EventType::hardware_exception, 13), 0, 0x1230))
TASK_CASE(int_injected, "Injected INT n", injected(event(EventType::software_interrupt, 0x42), 2))
TASK_CASE(bp_injected, "Injected INT3", injected(event(EventType::software_exception, 3), 1))
TASK_CASE(int_executed, "INT n", executed(l2_vk_int, event(EventType::software_interrupt, 0x44), 2))
TASK_CASE(bp_executed, "INT3", executed(l2_vk_int3, event(EventType::software_exception, 3), 1))
TASK_CASE(ud_raised, "#UD", executed(l2_vk_ud2, event(EventType::hardware_exception, 6), 0))

} // namespace nestbed::vmx
