// Injection by VM entry: each type and class of vector, seen from L2's handler (SDM volume 3, "Event
// Injection").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint64_t no_error = ~std::uint64_t{0};
// Arithmetic flags and IF: all that the code under test may find set.
constexpr std::uint64_t all_flags = 0x8d5 | rflags_fixed | rflags_if;
constexpr std::uint64_t flags_without_if = all_flags & ~rflags_if;
constexpr std::uint64_t some_cr2 = 0x1234'5678'9000;
constexpr std::uint64_t length = 2; // of the instruction that a software event stands for

struct Injected {
    EventType type;
    std::uint8_t vector;
    std::uint64_t error = no_error;

    [[nodiscard]] constexpr std::uint32_t value() const {
        return error == no_error ? event(type, vector) : event_with_error_code(type, vector);
    }
    // These push the address behind their instruction.
    [[nodiscard]] constexpr bool is_software() const {
        return type == EventType::software_interrupt || type == EventType::software_exception ||
               type == EventType::privileged_software_exception;
    }
};

// `fresh_ept`: L0 has no tables of its own for L2 yet, and has to step in while the event is delivered.
enum class Paging { shared, fresh_ept };
enum class Ring { kernel, user };

bool note_handler(guest::ExceptionFrame&) {
    std::uint64_t flags = 0;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    conform::l2_context().value[0] = flags;
    conform::l2_context().value[1] = guest::control_register<2>();
    return true;
}

void set_cr2(std::uint64_t value) {
    asm volatile("movq %0, %%cr2" : : "r"(value) : "memory");
}

void judge(L2& guest, const Injected& injected, std::uint64_t rip, std::uint64_t rsp, std::uint64_t cs,
           std::uint64_t ss, std::uint64_t rflags) {
    const auto& context = guest.context();
    const auto& frame = context.last;
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(frame.vector, injected.vector, "vector");
    expect_equal(frame.error_code, injected.error == no_error ? 0 : injected.error, "error code");
    expect_equal(frame.rip, rip, "RIP on the stack");
    expect_equal(frame.cs, cs, "CS on the stack");
    expect_equal(frame.rflags & ~rflags_rf, rflags, "RFLAGS on the stack, but for RF");
    expect_equal(frame.rsp, rsp, "RSP on the stack");
    expect_equal(frame.ss, ss, "SS on the stack");
    expect_equal(context.value[0] & (rflags_if | rflags_tf), 0U, "RFLAGS.IF and TF in the handler");
    expect_equal(context.value[1], some_cr2, "CR2 in the handler: VM entry does not change it");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U,
                 "VM-entry interruption information, valid, after the exit");
    expect_no_vectoring();
}

template<Injected injected, Paging paging = Paging::shared, Ring ring = Ring::kernel,
         std::uint64_t rflags = all_flags>
void inject() {
    if (paging == Paging::fresh_ept && !has_ept())
        return conform::not_applicable("KVM does not offer EPT");
    L2 guest;
    // Tables that L0 has not met yet: it has to step in while the event is delivered.
    if (paging == Paging::fresh_ept) {
        const ExtendedPageTables tables;
        tables.use_in(guest);
    }
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    guest.start(code);
    if (ring == Ring::user)
        begin_in_ring_3(guest);
    guest.context().hook = &note_handler;
    write(Field::guest_rflags, rflags);
    const auto rip = read(Field::guest_rip);
    const auto rsp = read(Field::guest_rsp);
    const auto cs = read(Field::guest_cs_selector);
    const auto ss = read(Field::guest_ss_selector);
    write(Field::entry_interruption_information, injected.value());
    if (injected.error != no_error)
        write(Field::entry_exception_error_code, injected.error);
    if (injected.is_software()) {
        // The code begins behind the instruction.
        write(Field::entry_instruction_length, length);
        write(Field::guest_rip, rip - length);
    }
    set_cr2(some_cr2);
    guest.run_to_end("L2 goes on behind the injected event");
    judge(guest, injected, rip, rsp, cs, ss, rflags);
    expect_equal(seen, 1U, "the interrupted code has run");
}

} // namespace

// name, type, vector, error code, text
#define INJECT(name, event_type, vector, error, text)                                                        \
    VMX_CASE(event_inject_##name, "vmx.event.inject_" #name, "VM entry delivers " text, "Event Injection",   \
             (&inject<Injected{EventType::event_type, vector, error}>))                                      \
    VMX_CASE(event_inject_##name##_ept, "vmx.event.inject_" #name "_ept",                                    \
             "VM entry delivers " text " through EPT that L0 has not met yet", "Event Injection",            \
             (&inject<Injected{EventType::event_type, vector, error}, Paging::fresh_ept>))                   \
    VMX_CASE(event_inject_##name##_ring3, "vmx.event.inject_" #name "_ring3",                                \
             "VM entry delivers " text " in ring 3, on the stack of RSP0", "Event Injection",                \
             (&inject<Injected{EventType::event_type, vector, error}, Paging::shared, Ring::user>))

INJECT(interrupt_32, external_interrupt, 32, no_error, "external interrupt 32")
INJECT(interrupt_255, external_interrupt, 255, no_error, "external interrupt 255")
INJECT(nmi, nmi, 2, no_error, "an NMI")
INJECT(de, hardware_exception, 0, no_error, "#DE")
INJECT(db, hardware_exception, 1, no_error, "#DB")
INJECT(ud, hardware_exception, 6, no_error, "#UD")
INJECT(nm, hardware_exception, 7, no_error, "#NM")
INJECT(df, hardware_exception, 8, 0, "#DF")
INJECT(ts, hardware_exception, 10, 0x28, "#TS")
INJECT(np, hardware_exception, 11, 0x38, "#NP")
INJECT(ss, hardware_exception, 12, 0x10, "#SS")
INJECT(gp, hardware_exception, 13, 0x7ff8, "#GP")
INJECT(pf, hardware_exception, 14, 0x15, "#PF")
INJECT(mf, hardware_exception, 16, no_error, "#MF")
INJECT(ac, hardware_exception, 17, 0, "#AC")
INJECT(mc, hardware_exception, 18, no_error, "#MC")
INJECT(xm, hardware_exception, 19, no_error, "#XM")
INJECT(int_32, software_interrupt, 32, no_error, "INT 32")
INJECT(int_128, software_interrupt, 128, no_error, "INT 80h")
INJECT(int_255, software_interrupt, 255, no_error, "INT 255")
INJECT(int_3, software_interrupt, 3, no_error, "INT 3 in two bytes")
INJECT(bp, software_exception, 3, no_error, "INT3")
INJECT(of, software_exception, 4, no_error, "INTO")
INJECT(int1, privileged_software_exception, 1, no_error, "INT1")

// An external interrupt alone asks for RFLAGS.IF.
VMX_CASE(event_inject_nmi_if_0, "vmx.event.inject_nmi_if_0", "VM entry delivers an NMI with RFLAGS.IF = 0",
         "Event Injection",
         (&inject<Injected{EventType::nmi, 2}, Paging::shared, Ring::kernel, flags_without_if>))
VMX_CASE(event_inject_gp_if_0, "vmx.event.inject_gp_if_0", "VM entry delivers #GP with RFLAGS.IF = 0",
         "Event Injection",
         (&inject<Injected{EventType::hardware_exception, 13, 0x10}, Paging::shared, Ring::kernel,
                  flags_without_if>))
VMX_CASE(
    event_inject_int_if_0, "vmx.event.inject_int_if_0", "VM entry delivers INT 80h with RFLAGS.IF = 0",
    "Event Injection",
    (&inject<Injected{EventType::software_interrupt, 0x80}, Paging::shared, Ring::kernel, flags_without_if>))
VMX_CASE(event_inject_ud_all_flags, "vmx.event.inject_ud_flags",
         "VM entry delivers #UD with DF, AC and ID set, which the frame has", "Event Injection",
         (&inject<Injected{EventType::hardware_exception, 6}, Paging::shared, Ring::kernel,
                  all_flags | 1U << 10 | 1U << 18 | 1U << 21>))

namespace {

// The exception bitmap and the pin-based controls are not for what VM entry injects.
void injected_is_not_intercepted(const Injected& injected, bool nmi_exiting) {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.context().resume |= 1U << injected.vector;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    if (nmi_exiting)
        set(Field::pin_based_controls, pin_based::nmi_exiting);
    else
        write(Field::exception_bitmap, 0xffff'ffff);
    write(Field::entry_interruption_information, injected.value());
    if (injected.error != no_error)
        write(Field::entry_exception_error_code, injected.error);
    if (injected.is_software()) {
        write(Field::entry_instruction_length, length);
        write(Field::guest_rip, read(Field::guest_rip) - length);
    }
    guest.run_to_end("the injected event is delivered, not intercepted");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, injected.vector, "vector");
}

} // namespace

#define NOT_INTERCEPTED(name, injected, nmi_exiting, text)                                                   \
    VMX_TEST(event_inject_intercepted_##name, "vmx.event.inject_intercepted_" #name,                         \
             "Injected " text " is delivered though L1 intercepts it", "Event Injection") {                  \
        injected_is_not_intercepted(injected, nmi_exiting);                                                  \
    }
NOT_INTERCEPTED(ud, (Injected{EventType::hardware_exception, 6}), false, "#UD")
NOT_INTERCEPTED(db, (Injected{EventType::hardware_exception, 1}), false, "#DB")
NOT_INTERCEPTED(gp, (Injected{EventType::hardware_exception, 13, 0}), false, "#GP")
NOT_INTERCEPTED(pf, (Injected{EventType::hardware_exception, 14, 2}), false, "#PF")
NOT_INTERCEPTED(df, (Injected{EventType::hardware_exception, 8, 0}), false, "#DF")
NOT_INTERCEPTED(bp, (Injected{EventType::software_exception, 3}), false, "INT3")
NOT_INTERCEPTED(nmi, (Injected{EventType::nmi, 2}), true, "NMI")
NOT_INTERCEPTED(interrupt, (Injected{EventType::external_interrupt, 0x31}), false, "external interrupt")

VMX_TEST(event_inject_once, "vmx.event.inject_once",
         "An event is injected once: the next entry has none, though its vector and type are still there",
         "Event Injection") {
    L2 guest;
    auto code = [] {
        guest::cpuid(0, 0);
        guest::cpuid(0, 0);
    };
    guest.start(code);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x41));
    if (!guest.run_to(ExitReason::cpuid, "the first CPUID"))
        return;
    expect_equal(guest.context().interrupts[0x41], 1U, "interrupts after the first entry");
    expect_equal(read(Field::entry_interruption_information),
                 event(EventType::external_interrupt, 0x41) & ~event_valid,
                 "VM-entry interruption information: only the valid bit is cleared");
    guest.skip();
    guest.run_to(ExitReason::cpuid, "the second CPUID");
    expect_equal(guest.context().interrupts[0x41], 1U, "interrupts after the second entry");
}

VMX_TEST(event_inject_each_entry, "vmx.event.inject_each_entry",
         "Each of eight entries delivers the event that it was given", "Event Injection") {
    L2 guest;
    auto code = [] {
        for (;;)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    for (std::uint8_t i = 0; i < 8; ++i) {
        const auto vector = static_cast<std::uint8_t>(0x50 + 16 * (i % 4) + i);
        write(Field::entry_interruption_information, event(EventType::external_interrupt, vector));
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        guest.skip();
        expect_equal(guest.context().delivered, i + 1U, "events that L2 has seen");
        expect_equal(guest.context().interrupts[vector], 1U, "of this vector");
    }
}

VMX_TEST(event_inject_db_registers, "vmx.event.inject_db_dr6",
         "An injected #DB changes neither DR6 nor DR7 nor IA32_DEBUGCTL", "Event Injection") {
    L2 guest;
    std::uint64_t dr6 = 0;
    std::uint64_t dr7 = 0;
    auto code = [&] {
        asm volatile("movq %%dr6, %0" : "=r"(dr6));
        asm volatile("movq %%dr7, %0" : "=r"(dr7));
    };
    guest.start(code);
    guest.context().resume |= 1U << 1;
    asm volatile("movq %0, %%dr6" : : "r"(std::uint64_t{0xffff'0ff1}));
    // BTF would be cleared, GD too, by a #DB that is raised.
    write(Field::guest_dr7, 0x400 | 1U << 8);
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 1));
    guest.run_to_end();
    expect_equal(guest.context().exceptions[1], 1U, "#DB that L2 has seen");
    expect_equal(dr6, 0xffff'0ff1U, "DR6 in L2");
    if ((read(Field::entry_controls) & vm_entry::load_debug_controls) != 0)
        expect_equal(dr7, 0x500U, "DR7 in L2");
}

VMX_TEST(event_inject_after_mov_ss, "vmx.event.inject_ends_mov_ss",
         "Blocking by MOV SS ends with the delivery of an injected exception", "Event Injection") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.context().hook = [](guest::ExceptionFrame&) {
        guest::cpuid(0, 0);
        return true;
    };
    write(Field::guest_interruptibility_state, blocking_by_mov_ss);
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    if (guest.run_to(ExitReason::cpuid, "CPUID in the handler")) {
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
        expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
    }
}

VMX_TEST(event_inject_zero_length, "vmx.event.inject_int3_length_0",
         "INT3 with instruction length 0 pushes RIP as it is, where IA32_VMX_MISC allows that",
         "Event Injection") {
    if ((miscellaneous() >> 30 & 1) == 0)
        return conform::not_applicable("no injection with instruction length 0");
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.context().resume |= 1U << 3;
    const auto rip = read(Field::guest_rip);
    write(Field::entry_interruption_information, event(EventType::software_exception, 3));
    write(Field::entry_instruction_length, 0);
    guest.run_to_end();
    expect_equal(guest.context().exceptions[3], 1U, "#BP that L2 has seen");
    expect_equal(guest.context().last.rip, rip, "RIP on the stack");
}

VMX_TEST(event_inject_length_15, "vmx.event.inject_int_length_15",
         "INT n with instruction length 15 pushes RIP + 15", "Event Injection") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    const auto rip = read(Field::guest_rip);
    write(Field::guest_rip, rip - 15);
    write(Field::entry_interruption_information, event(EventType::software_interrupt, 0x33));
    write(Field::entry_instruction_length, 15);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x33], 1U, "events that L2 has seen");
    expect_equal(guest.context().last.rip, rip, "RIP on the stack");
}

VMX_TEST(event_inject_int_dpl, "vmx.event.inject_int_dpl",
         "Injected INT n in ring 3 through a gate of DPL 0 is #GP of L2's", "Event Injection") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    begin_in_ring_3(guest);
    gate_of(guest, 0x33)[0] &= ~(std::uint64_t{0x60} << 40);
    guest.intercept_exception(13);
    write(Field::entry_interruption_information, event(EventType::software_interrupt, 0x33));
    write(Field::entry_instruction_length, 2);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#GP during the delivery"))
        return;
    expect_equal(read(Field::exit_interruption_information) & 0xff, 13U, "vector");
    expect_equal(read(Field::exit_interruption_error_code), 0x33U * 8 + 2, "error code");
    expect_equal(read(Field::idt_vectoring_information), event(EventType::software_interrupt, 0x33),
                 "IDT-vectoring information");
}

VMX_TEST(event_inject_interrupt_dpl, "vmx.event.inject_interrupt_dpl",
         "An injected external interrupt in ring 3 goes through a gate of DPL 0", "Event Injection") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    begin_in_ring_3(guest);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    gate_of(guest, 0x33)[0] &= ~(std::uint64_t{0x60} << 40);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x33));
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x33], 1U, "interrupts that L2 has seen");
}

VMX_TEST(event_inject_mtf, "vmx.event.inject_mtf",
         "A pending MTF VM exit that was injected comes before L2's first instruction",
         "Injection of Pending MTF VM Exits") {
    if (!allowed_primary().may_set(primary::monitor_trap_flag))
        return conform::not_applicable("KVM does not offer the monitor trap flag");
    L2 guest;
    auto code = [] {};
    guest.start(code);
    const auto rip = read(Field::guest_rip);
    write(Field::entry_interruption_information, event(EventType::other, 0));
    if (!guest.run_to(ExitReason::monitor_trap_flag, "the MTF VM exit"))
        return;
    expect_equal(read(Field::guest_rip), rip, "guest RIP");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U, "VM-entry interruption information");
    expect_no_vectoring();
    guest.run_to_end("L2 goes on");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

} // namespace nestbed::vmx
