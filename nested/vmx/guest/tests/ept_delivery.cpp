// EPT violations in the middle of the delivery of an event, which reads L2's IDT, GDT and TSS and writes its
// stack: IDT-vectoring information holds the event, L1 mends the page and injects it again, and L2's handler
// runs once. And those of IRET, which ends blocking by NMI.
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/snippet.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint64_t rflags_if = 1U << 9; // without it no interrupt can be injected

enum class Table { idt, gdt, tss, stack };

std::uint64_t* words_at(std::uint64_t address) {
    return reinterpret_cast<std::uint64_t*>(address);
}

// How L2 comes by the event.
struct Source {
    std::uint32_t event;       // interruption information
    void (*raise)() = nullptr; // L2's own instruction; null: L1 injects the event
    std::uint64_t length = 0;  // of that instruction
    bool again = false;        // a fault: the handler steps over the instruction
    std::uint32_t error_code = 0;

    [[nodiscard]] std::uint8_t vector() const { return event & 0xff; }
    [[nodiscard]] bool is_software() const {
        const auto type = decode_event(event).type;
        return type == EventType::software_interrupt || type == EventType::software_exception;
    }
};

constexpr Source undefined_opcode{event(EventType::hardware_exception, 6), [] { asm volatile("ud2"); }, 2,
                                  true};
// A load of FS with a selector beyond the GDT's limit: the error code is that selector.
constexpr Source general_protection{event_with_error_code(EventType::hardware_exception, 13),
                                    [] { asm volatile("movl %0, %%fs"
                                                      :
                                                      : "a"(0x1238)); }, 2, true, 0x1238};
constexpr Source breakpoint{event(EventType::software_exception, 3), [] { asm volatile("int3"); }, 1};
constexpr Source software_interrupt{event(EventType::software_interrupt, 0x52),
                                    [] { asm volatile("int $0x52"); }, 2};
constexpr Source interrupt{event(EventType::external_interrupt, 0x51)};
constexpr Source nmi{event(EventType::nmi, 2)};
constexpr Source injected_exception{event_with_error_code(EventType::hardware_exception, 13), nullptr, 0,
                                    false, 0xabc8};

// What L1 would write to inject the event again.
void inject_again() {
    // Bit 12 is undefined there and reserved here.
    const auto information =
        static_cast<std::uint32_t>(read(Field::idt_vectoring_information)) & ~event_nmi_unblocking;
    write(Field::entry_interruption_information, information);
    if ((information & event_error_code) != 0)
        write(Field::entry_exception_error_code, read(Field::idt_vectoring_error_code));
    const auto type = decode_event(information).type;
    if (type == EventType::software_interrupt || type == EventType::software_exception)
        write(Field::entry_instruction_length, read(Field::exit_instruction_length));
}

void delivery(Table which, const Source& source) {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    auto& context = guest.context();
    context.resume |= 1U << 6 | 1U << 3 | 1U << 13;
    const auto fresh = conform::physical(conform::allocate_pages(1));
    const auto page_for = [&](const void* pointer) {
        conform::copy_page(words_at(fresh), words_at(page_of(conform::physical(pointer))));
        return fresh + (conform::physical(pointer) & 0xfff);
    };
    std::uint64_t linear = 0; // that the delivery touches first in the page, 0: not known
    // By the interrupt stack table, so that only the delivery touches the TSS and this stack: IST1.
    auto* const gate = words_at(conform::physical(context.idt) + std::uint64_t{16} * source.vector());
    if (which == Table::tss || which == Table::stack) {
        *gate |= std::uint64_t{1} << 32;
        auto* const ist1 = context.tss + 0x24;
        *words_at(conform::physical(ist1)) =
            which == Table::stack ? fresh + 4096 : conform::physical(context.user_stack) + 4096;
    }
    switch (which) {
    case Table::idt:
        write(Field::guest_idtr_base, page_for(context.idt));
        linear = fresh + std::uint64_t{16} * source.vector();
        break;
    case Table::gdt:
        write(Field::guest_gdtr_base, page_for(context.gdt));
        break;
    case Table::tss:
        write(Field::guest_tr_base, page_for(context.tss));
        break;
    case Table::stack:
        break;
    }
    std::uint64_t went_on = 0;
    auto code = [&] {
        if (source.raise != nullptr)
            source.raise();
        went_on = 1;
    };
    guest.start(code);
    if (source.raise == nullptr) {
        write(Field::entry_interruption_information, source.event);
        write(Field::entry_exception_error_code, source.error_code);
        set(Field::guest_rflags, rflags_if);
    }
    auto& entry = window.ept.entry(fresh, 1);
    const auto before = entry;
    entry = 0;
    window.ept.invalidate();
    if (!guest.run_to(ExitReason::ept_violation, "the delivery meets a page that is not present"))
        return;
    const auto tried = which == Table::stack ? Touch::write : Touch::read;
    // Bit 12 is undefined where IDT-vectoring information is valid.
    const auto defined = ept_violation::defined & ~ept_violation::nmi_unblocking;
    expect_equal(read(Field::exit_qualification) & defined, final_access(tried), "exit qualification");
    expect_equal(page_of(read(Field::guest_physical_address)), fresh, "page of the guest-physical address");
    expect_equal(read(Field::guest_linear_address), read(Field::guest_physical_address),
                 "guest-linear address, identity-mapped");
    if (linear != 0)
        expect_equal(read(Field::guest_linear_address), linear, "guest-linear address: the gate");
    const auto vectoring = read(Field::idt_vectoring_information);
    expect_equal(vectoring & ~std::uint64_t{event_nmi_unblocking}, source.event, // bit 12 is undefined
                 "IDT-vectoring information");
    if ((source.event & event_error_code) != 0)
        expect_equal(read(Field::idt_vectoring_error_code), source.error_code, "IDT-vectoring error code");
    if (source.is_software())
        expect_equal(read(Field::exit_instruction_length), source.length, "VM-exit instruction length");
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U,
                 "VM-exit interruption information, valid");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U,
                 "VM-entry interruption information after the exit, valid");
    expect_equal(context.delivered, 0U, "events that L2 has seen so far");
    expect_equal(went_on, 0U, "whether L2 went on");
    if (source.raise != nullptr && source.is_software()) {
        const auto* const at = reinterpret_cast<const std::uint8_t*>(read(Field::guest_rip));
        expect_equal(at[0], source.vector() == 3 ? 0xccU : 0xcdU, "the instruction that RIP is at");
    }
    entry = before;
    window.ept.invalidate();
    inject_again();
    static Source at_hand;
    at_hand = source;
    context.hook = [](guest::ExceptionFrame& frame) {
        if (at_hand.again)
            frame.rip += at_hand.length;
        conform::l2_context().value[0] = frame.error_code;
        conform::l2_context().value[1] = conform::physical(&frame);
        return frame.vector < 32;
    };
    guest.run_to_end();
    expect_equal(went_on, 1U, "L2 goes on after the event");
    expect_equal(context.delivered, 1U, "events that L2 has seen at its end");
    expect_equal(context.last.vector, source.vector(), "the vector");
    expect_equal(context.value[0], source.error_code, "the error code on L2's stack, or 0");
    if (which == Table::stack)
        expect_equal(page_of(context.value[1]), fresh, "the page of the frame");
}

// Nothing of all that L2's processor needs has been seen by L0, and L1 permits everything: no exit.
void unseen(const Source& source) {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    auto& context = guest.context();
    context.resume |= 1U << 6 | 1U << 3 | 1U << 13;
    std::uint64_t went_on = 0;
    auto code = [&] {
        if (source.raise != nullptr)
            source.raise();
        went_on = 1;
    };
    static Source at_hand;
    at_hand = source;
    context.hook = [](guest::ExceptionFrame& frame) {
        if (at_hand.again)
            frame.rip += at_hand.length;
        return frame.vector < 32;
    };
    for (std::uint32_t round = 1; round <= 3; ++round) {
        back_to_ring_0();
        went_on = 0;
        guest.start(code);
        if (source.raise == nullptr) {
            write(Field::entry_interruption_information, source.event);
            write(Field::entry_exception_error_code, source.error_code);
            set(Field::guest_rflags, rflags_if);
        }
        window.ept.invalidate();
        guest.run_to_end();
        expect_equal(went_on, 1U, "L2 goes on after the event");
        expect_equal(context.delivered, round, "events that L2 has seen");
        expect_equal(context.last.vector, source.vector(), "the vector");
        expect_equal(context.last.error_code, source.error_code, "the error code on L2's stack, or 0");
    }
}

} // namespace

#define DELIVERY(table, title)                                                                               \
    DELIVERY_OF(table, undefined_opcode, "An exception of L2's meets " title)                                \
    DELIVERY_OF(table, general_protection, "An exception with an error code of L2's meets " title)           \
    DELIVERY_OF(table, breakpoint, "L2's INT3 meets " title)                                                 \
    DELIVERY_OF(table, software_interrupt, "L2's INT n meets " title)                                        \
    DELIVERY_OF(table, interrupt, "An interrupt that L1 injects meets " title)                               \
    DELIVERY_OF(table, nmi, "An NMI that L1 injects meets " title)                                           \
    DELIVERY_OF(table, injected_exception, "An exception that L1 injects meets " title)
#define DELIVERY_OF(table, source, title)                                                                    \
    VMX_TEST(delivery_##table##_##source, "vmx.ept.delivery_" #source "_" #table,                            \
             title " that is not present", "Information for VM Exits That Occur During Event Delivery",      \
             .needs = "ept") {                                                                               \
        delivery(Table::table, source);                                                                      \
    }
DELIVERY(idt, "an IDT")
DELIVERY(gdt, "a GDT")
DELIVERY(tss, "a TSS")
DELIVERY(stack, "a stack")

#define UNSEEN(source, title)                                                                                \
    VMX_TEST(delivery_unseen_##source, "vmx.ept.delivery_" #source "_permitted",                             \
             title " is delivered once after INVEPT, L1 sees no exit",                                       \
             "Information for VM Exits That Occur During Event Delivery", .needs = "ept") {                  \
        unseen(source);                                                                                      \
    }
UNSEEN(undefined_opcode, "An exception of L2's")
UNSEEN(general_protection, "An exception with an error code of L2's")
UNSEEN(breakpoint, "L2's INT3")
UNSEEN(software_interrupt, "L2's INT n")
UNSEEN(interrupt, "An interrupt that L1 injects")
UNSEEN(injected_exception, "An exception that L1 injects")

// IRET that reads a stack which EPT does not map.
namespace {

L2_SNIPPET(do_iretq, "iretq");
L2_SNIPPET(do_pop_rax, "pop %rax");

constexpr std::uint64_t blocking_by_nmi = 1U << 3;

enum class Nmis { virtual_nmis, plain };

struct Iret {
    Window window;
    std::uint64_t stack = conform::physical(conform::allocate_pages(1));

    explicit Iret(const Snippet& snippet) {
        place(window.guest, snippet);
        auto* const frame = words_at(stack + 0x800);
        frame[0] = do_iretq.end(); // a VMCALL
        frame[1] = read(Field::guest_cs_selector);
        frame[2] = 2;
        frame[3] = stack + 0xff0;
        frame[4] = read(Field::guest_ss_selector);
        write(Field::guest_rsp, stack + 0x800);
    }
    std::uint64_t& entry() { return window.ept.entry(stack, 1); }
};

bool want_virtual_nmis() {
    constexpr auto controls = pin_based::nmi_exiting | pin_based::virtual_nmis;
    if (!allowed_pin_based().may_set(controls)) {
        conform::not_applicable("KVM does not offer virtual NMIs");
        return false;
    }
    set(Field::pin_based_controls, controls);
    return true;
}

void iret(Nmis nmis, bool blocking, std::uint64_t expected) {
    if (!Window::possible())
        return;
    Iret iret{do_iretq};
    if (nmis == Nmis::virtual_nmis && !want_virtual_nmis())
        return;
    write(Field::guest_interruptibility_state, blocking ? blocking_by_nmi : 0);
    const auto before = iret.entry();
    iret.entry() = 0;
    iret.window.ept.invalidate();
    if (!iret.window.guest.run_to(ExitReason::ept_violation, "the stack of IRET"))
        return;
    expect_equal(read(Field::exit_qualification) & ept_violation::defined,
                 final_access(Touch::read) | expected, "exit qualification");
    // In which order IRET reads the frame is not said.
    const auto at = read(Field::guest_physical_address);
    expect(at >= iret.stack + 0x800 && at < iret.stack + 0x828, "the guest-physical address is in the frame");
    expect_equal(read(Field::guest_linear_address), at, "guest-linear address");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
    expect_equal(read(Field::guest_rip), do_iretq.address(), "guest RIP");
    expect_equal(read(Field::guest_rsp), iret.stack + 0x800, "guest RSP");
    // Blocking ends before the exit, and bit 12 is where L1 learns that there was some.
    expect_equal(read(Field::guest_interruptibility_state), 0U, "guest interruptibility state");
    iret.entry() = before;
    iret.window.ept.invalidate();
    write(Field::guest_interruptibility_state, blocking ? blocking_by_nmi : 0);
    if (!iret.window.guest.run_to(ExitReason::vmcall, "IRET goes through"))
        return;
    expect_equal(read(Field::guest_rip), do_iretq.end(), "guest RIP after IRET");
    expect_equal(read(Field::guest_rsp), iret.stack + 0xff0, "guest RSP after IRET");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "guest interruptibility state after IRET");
}

} // namespace

VMX_TEST(iret_virtual_nmis, "vmx.ept.iret_nmi_unblocking_virtual",
         "An EPT violation of an IRET that ends virtual-NMI blocking sets bit 12",
         "Basic VM-Exit Information", .needs = "ept,vnmi") {
    iret(Nmis::virtual_nmis, true, ept_violation::nmi_unblocking);
}
VMX_TEST(iret_virtual_nmis_open, "vmx.ept.iret_without_blocking_virtual",
         "An EPT violation of an IRET without virtual-NMI blocking leaves bit 12 clear",
         "Basic VM-Exit Information", .needs = "ept,vnmi") {
    iret(Nmis::virtual_nmis, false, 0);
}
VMX_TEST(iret_nmis, "vmx.ept.iret_nmi_unblocking",
         "An EPT violation of an IRET that ends blocking by NMI sets bit 12", "Basic VM-Exit Information",
         .needs = "ept") {
    iret(Nmis::plain, true, ept_violation::nmi_unblocking);
}
VMX_TEST(iret_nmis_open, "vmx.ept.iret_without_blocking",
         "An EPT violation of an IRET without blocking leaves bit 12 clear", "Basic VM-Exit Information",
         .needs = "ept") {
    iret(Nmis::plain, false, 0);
}

VMX_TEST(iret_other_instruction, "vmx.ept.nmi_blocking_other_instruction",
         "An EPT violation of another instruction leaves blocking by NMI and bit 12 alone",
         "Basic VM-Exit Information", .needs = "ept,vnmi") {
    if (!Window::possible())
        return;
    Iret pop{do_pop_rax};
    if (!want_virtual_nmis())
        return;
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    const auto before = pop.entry();
    pop.entry() = 0;
    pop.window.ept.invalidate();
    pop.window.guest.run();
    expect_ept_violation(final_access(Touch::read), pop.stack + 0x800, pop.stack + 0x800, "the stack of POP");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "guest interruptibility state");
    pop.entry() = before;
    pop.window.ept.invalidate();
    pop.window.guest.run_to(ExitReason::vmcall, "POP goes through");
    expect_equal(pop.window.guest.registers.rax, do_iretq.end(), "what POP loaded");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "guest interruptibility state");
}

} // namespace nestbed::vmx
