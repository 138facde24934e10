// Exits in the middle of the delivery of an event: what they say of it, and what injecting it again does (SDM
// volume 3, "Information for VM Exits During Event Delivery").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;

namespace {

// Injected by L1, or of L2's own making.
enum class Source { injected, instruction, interrupt, nmi };

struct Kind {
    Source source;
    EventType type;
    std::uint8_t vector;
    bool has_error = false;
    std::uint32_t error = 0;
    const char* code = nullptr; // of an instruction
    std::uint64_t length = 0;   // of a software event's

    [[nodiscard]] constexpr std::uint32_t value() const {
        return has_error ? event_with_error_code(type, vector) : event(type, vector);
    }
    [[nodiscard]] constexpr bool is_software() const { return length != 0; }
    // EXT: the event is external to the program (SDM volume 3, "Error Code").
    [[nodiscard]] constexpr std::uint32_t ext() const {
        return type == EventType::software_interrupt || type == EventType::software_exception ? 0 : 1;
    }
};

L2_CODE(l2_vx_nop, 64, "nop; nop; nop; vmcall");
L2_CODE(l2_vx_ud2, 64, "ud2; vmcall");
L2_CODE(l2_vx_gp, 64, "movq (%rbx), %rax; vmcall"); // RBX is not canonical
L2_CODE(l2_vx_int, 64, "int $0x80; vmcall");
L2_CODE(l2_vx_int3, 64, "int3; vmcall");
L2_CODE(l2_vx_int1, 64, ".byte 0xf1; vmcall");
L2_CODE(l2_vx_icr, 64, "wrmsr; nop; vmcall"); // sends an NMI to itself

constexpr Kind interrupt_injected{Source::injected, EventType::external_interrupt, 0x41};
constexpr Kind nmi_injected{Source::injected, EventType::nmi, 2};
constexpr Kind ud_injected{Source::injected, EventType::hardware_exception, 6};
constexpr Kind ac_injected{Source::injected, EventType::hardware_exception, 17, true, 0};
constexpr Kind gp_injected{Source::injected, EventType::hardware_exception, 13, true, 0x1238};
constexpr Kind int_injected{Source::injected, EventType::software_interrupt, 0x80, false, 0, nullptr, 2};
constexpr Kind bp_injected{Source::injected, EventType::software_exception, 3, false, 0, nullptr, 1};
constexpr Kind int1_injected{
    Source::injected, EventType::privileged_software_exception, 1, false, 0, nullptr, 1};
constexpr Kind ud_raised{Source::instruction, EventType::hardware_exception, 6, false, 0, l2_vx_ud2};
constexpr Kind gp_raised{Source::instruction, EventType::hardware_exception, 13, true, 0, l2_vx_gp};
constexpr Kind int_executed{Source::instruction, EventType::software_interrupt, 0x80, false, 0, l2_vx_int, 2};
constexpr Kind bp_executed{Source::instruction, EventType::software_exception, 3, false, 0, l2_vx_int3, 1};
constexpr Kind int1_executed{
    Source::instruction, EventType::privileged_software_exception, 1, false, 0, l2_vx_int1, 1};
constexpr Kind interrupt_taken{Source::interrupt, EventType::external_interrupt, 0x42};
constexpr Kind nmi_taken{Source::nmi, EventType::nmi, 2};

const char* code_of(const Kind& kind) {
    return kind.source == Source::instruction ? kind.code
           : kind.source == Source::nmi       ? l2_vx_icr
                                              : l2_vx_nop;
}

// False where the test does not apply.
bool prepare(L2& guest, const Kind& kind) {
    start_code(guest, code_of(kind));
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    guest.registers.rbx = 0x8000'0000'0000'0000;
    // Goes on behind the instruction whose fault pushed its own address.
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        if (frame.vector == 6 && frame.rip == address_of(l2_vx_ud2))
            frame.rip += 2;
        if (frame.vector == 13 && frame.rip == address_of(l2_vx_gp))
            frame.rip += 3;
        return true;
    };
    switch (kind.source) {
    case Source::injected:
        write(Field::entry_interruption_information, kind.value());
        write(Field::entry_exception_error_code, kind.error);
        write(Field::entry_instruction_length, kind.length);
        break;
    case Source::interrupt:
        if (!give_interrupts_to_l2(guest))
            return false;
        guest::disable_interrupts(); // to be taken by L2
        interrupt_self(kind.vector);
        break;
    case Source::nmi: {
        using namespace guest::apic;
        const auto command_word = command(own_apic_id(), Shorthand::none, Delivery::nmi, 0);
        guest.registers.rcx = static_cast<std::uint32_t>(Register::interrupt_command);
        guest.registers.rax = command_word & 0xffff'ffff;
        guest.registers.rdx = command_word >> 32;
        break;
    }
    case Source::instruction:
        break;
    }
    return true;
}

// Where L2 stands while the event is delivered.
std::uint64_t rip_of(const Kind& kind) {
    return address_of(code_of(kind)) + (kind.source == Source::nmi ? 2 : 0);
}

void expect_vectoring(L2& guest, const Kind& kind) {
    // Bit 12 of this field is undefined.
    expect_equal(read(Field::idt_vectoring_information) & ~std::uint64_t{1U << 12}, kind.value(),
                 "IDT-vectoring information");
    if (kind.has_error)
        expect_equal(read(Field::idt_vectoring_error_code), kind.error, "IDT-vectoring error code");
    if (kind.is_software())
        expect_equal(read(Field::exit_instruction_length), kind.length, "VM-exit instruction length");
    expect_equal(read(Field::guest_rip), rip_of(kind), "RIP, of the interrupted code");
    expect_equal(read(Field::guest_rsp), code_stack(guest), "RSP, of the interrupted code");
    expect_equal(read(Field::guest_rflags) & ~rflags_rf, rflags_fixed | rflags_if,
                 "RFLAGS of the interrupted code, but for RF");
    expect_equal(read(Field::guest_cs_selector), nestbed::wire::kernel_code_selector, "CS");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U, "VM-entry interruption information");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

void reinject(L2& guest, const Kind& kind) {
    write(Field::entry_interruption_information,
          read(Field::idt_vectoring_information) & ~std::uint64_t{1U << 12});
    write(Field::entry_exception_error_code, read(Field::idt_vectoring_error_code));
    write(Field::entry_instruction_length, read(Field::exit_instruction_length));
    // As software does for an NMI, which blocks others from before its delivery.
    if (kind.type == EventType::nmi)
        clear(Field::guest_interruptibility_state, blocking_by_nmi);
    if (!guest.run_to(ExitReason::vmcall, "L2 goes on behind the event"))
        return;
    const auto& context = guest.context();
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(context.last.vector, kind.vector, "vector");
    expect_equal(context.last.error_code, kind.error, "error code");
    if (kind.source != Source::instruction || kind.is_software())
        expect_equal(context.last.rip, rip_of(kind) + kind.length, "RIP on the stack");
    expect_equal(context.last.rsp, code_stack(guest), "RSP on the stack");
    expect_no_vectoring();
    guest::enable_interrupts();
    settle();
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 has seen");
    if (kind.source == Source::interrupt)
        expect_equal(interrupts_taken(kind.vector), 0U, "interrupts that L1 has seen");
}

// What stands in the way of the event.
enum class Obstacle { gate_not_present, idt_limit, idt_page, stack_page };

// A page that is not there for L2, whose page tables are L1's.
class Unmapped {
public:
    explicit Unmapped(std::uint64_t address) {
        auto* table = guest::pointer_to<std::uint64_t>(guest::control_register<3>() & ~std::uint64_t{0xfff});
        for (unsigned shift = 39; shift >= 12; shift -= 9) {
            auto& entry = table[address >> shift & 0x1ff];
            if (shift == 12) {
                _entry = &entry;
                break;
            }
            if ((entry & 0x80) != 0)
                split(entry, shift);
            table = guest::pointer_to<std::uint64_t>(entry & 0x000f'ffff'ffff'f000);
        }
        *_entry &= ~std::uint64_t{1};
        flush();
    }
    Unmapped(const Unmapped&) = delete;
    Unmapped& operator=(const Unmapped&) = delete;
    ~Unmapped() { restore(); }
    void restore() {
        *_entry |= 1;
        flush();
    }

private:
    void flush() { asm volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" : : : "rax", "memory"); }
    static void split(std::uint64_t& entry, unsigned shift) {
        auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        const auto size = std::uint64_t{1} << (shift - 9);
        const auto large = shift - 9 > 12 ? std::uint64_t{0x80} : 0;
        for (std::uint64_t i = 0; i < 512; ++i)
            table[i] = ((entry & 0x000f'ffff'ffe0'0000) + i * size) | (entry & 0x7f) | large;
        entry = conform::physical(table) | (entry & 0x7f);
    }

    std::uint64_t* _entry = nullptr;
};

constexpr std::uint64_t present = std::uint64_t{1} << 47;

template<Kind kind, Obstacle obstacle>
void delivery() {
    if (kind.source == Source::interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    if (!prepare(guest, kind))
        return;
    auto* const gate = gate_of(guest, kind.vector);
    const auto selector_error = kind.vector * 8U + 2 + kind.ext();
    std::uint8_t vector = 0;
    std::uint64_t error = 0;
    std::uint64_t qualification = 0;
    if constexpr (obstacle == Obstacle::gate_not_present || obstacle == Obstacle::idt_limit) {
        if constexpr (obstacle == Obstacle::gate_not_present)
            gate[0] &= ~present;
        else
            write(Field::guest_idtr_limit, 16U * kind.vector - 1);
        vector = obstacle == Obstacle::gate_not_present ? 11 : 13;
        error = selector_error;
        guest.intercept_exception(vector);
        if (!guest.run_to(ExitReason::exception_or_nmi, "the exception during the delivery"))
            return;
        gate[0] |= present;
        write(Field::guest_idtr_limit, 0xfff);
    } else {
        const auto page = obstacle == Obstacle::idt_page ? conform::physical(guest.context().idt)
                                                         : conform::physical(conform::allocate_pages(2));
        if (obstacle == Obstacle::stack_page)
            write(Field::guest_rsp, page + 4096);
        vector = 14;
        error = obstacle == Obstacle::idt_page ? 0 : 2;
        qualification = obstacle == Obstacle::idt_page ? conform::physical(gate) : page + 4096 - 8;
        guest.intercept_exception(vector);
        Unmapped unmapped{page};
        const bool left = guest.run_to(ExitReason::exception_or_nmi, "#PF during the delivery");
        unmapped.restore();
        if (!left)
            return;
        if (obstacle == Obstacle::idt_page) // any byte of the gate
            expect_equal(read(Field::exit_qualification) & ~std::uint64_t{15}, qualification,
                         "exit qualification, the address but for bits 3:0");
        else
            expect_equal(read(Field::guest_rsp), page + 4096, "RSP, of the interrupted code");
        write(Field::guest_rsp, code_stack(guest));
    }
    expect_equal(read(Field::exit_interruption_information) & ~std::uint64_t{1U << 12},
                 event_with_error_code(EventType::hardware_exception, vector),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_interruption_error_code), error, "VM-exit interruption error code");
    if (vector != 14)
        expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    if (obstacle == Obstacle::stack_page) // any byte of the frame
        expect_equal(read(Field::exit_qualification) >> 12, qualification >> 12, "page of the qualification");
    expect_vectoring(guest, kind);
    guest.intercept_exception(vector, false);
    reinject(guest, kind);
}

// An EPT violation takes the place of the exception: L1's entry for the stack is not present.
template<Kind kind>
void delivery_ept() {
    if (!has_ept())
        return conform::not_applicable("KVM does not offer EPT");
    if (kind.source == Source::interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    if (!prepare(guest, kind))
        return;
    ExtendedPageTables tables;
    tables.use_in(guest);
    // The stack's page alone: L2's tables and code may be in the same 2 MiB.
    auto& page = tables.entry(code_stack(guest) - 8, 1);
    page &= ~ept_bit::all;
    if (!guest.run_to(ExitReason::ept_violation, "an EPT violation during the delivery"))
        return;
    expect_equal(read(Field::guest_physical_address) >> 12, (code_stack(guest) - 8) >> 12,
                 "page of the address");
    expect_vectoring(guest, kind);
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information");
    page |= ept_bit::all;
    reinject(guest, kind);
}

} // namespace

#define SECTION "Information for VM Exits During Event Delivery"
#define DELIVERY_LIMIT(kind, text)                                                                           \
    VMX_CASE(event_delivery_limit_##kind, "vmx.event.delivery_limit_" #kind,                                 \
             text " beyond the IDT's limit: #GP, and the event again", SECTION,                              \
             (&delivery<kind, Obstacle::idt_limit>))
#define DELIVERY(kind, text)                                                                                 \
    DELIVERY_BUT_LIMIT(kind, text)                                                                           \
    DELIVERY_LIMIT(kind, text)
#define DELIVERY_BUT_LIMIT(kind, text)                                                                       \
    VMX_CASE(event_delivery_gate_##kind, "vmx.event.delivery_gate_" #kind,                                   \
             text " through a gate that is not present: #NP, and the event again", SECTION,                  \
             (&delivery<kind, Obstacle::gate_not_present>))                                                  \
    VMX_CASE(event_delivery_idt_##kind, "vmx.event.delivery_idt_" #kind,                                     \
             text " with no page for the IDT: #PF, and the event again", SECTION,                            \
             (&delivery<kind, Obstacle::idt_page>))                                                          \
    VMX_CASE(event_delivery_stack_##kind, "vmx.event.delivery_stack_" #kind,                                 \
             text " with no page for the stack: #PF, and the event again", SECTION,                          \
             (&delivery<kind, Obstacle::stack_page>))                                                        \
    VMX_CASE(event_delivery_ept_##kind, "vmx.event.delivery_ept_" #kind,                                     \
             text " with no EPT entry for the stack: an EPT violation, and the event again", SECTION,        \
             (&delivery_ept<kind>))

DELIVERY(interrupt_injected, "An injected external interrupt")
DELIVERY(nmi_injected, "An injected NMI")
DELIVERY(ud_injected, "Injected #UD")
DELIVERY(ac_injected, "Injected #AC with its error code")
DELIVERY(int_injected, "Injected INT 80h")
DELIVERY(bp_injected, "Injected INT3")
DELIVERY(int1_injected, "Injected INT1")
DELIVERY(ud_raised, "#UD of UD2")
DELIVERY(int_executed, "INT 80h")
DELIVERY(bp_executed, "INT3")
DELIVERY(int1_executed, "INT1")
DELIVERY(interrupt_taken, "An external interrupt of L2's own")
DELIVERY(nmi_taken, "An NMI of L2's own")
// The first exception is a contributory one. Whether the second leaves L2 is looked at before they are made
// #DF. An intercepted #GP would be the first one itself.
DELIVERY(gp_injected, "Injected #GP with its error code")
DELIVERY_BUT_LIMIT(gp_raised, "#GP of an address that is not canonical")

namespace {

// #NP while #GP or #NP is delivered: a double fault, of which only the end is seen (SDM volume 3, "Interrupt
// 8--Double Fault Exception").
void double_fault(L2& guest) {
    start_code(guest, l2_vx_gp);
    guest.registers.rbx = 0x8000'0000'0000'0000;
    gate_of(guest, 13)[0] &= ~present;
}

} // namespace

VMX_TEST(event_double_fault, "vmx.event.double_fault",
         "#NP during the delivery of #GP is #DF in L2, with nothing for L1",
         "Exceptions and the exception bitmap") {
    L2 guest;
    double_fault(guest);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 3;
        return true;
    };
    guest.run_to(ExitReason::vmcall, "L2 goes on behind the double fault");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 8U, "vector");
    expect_equal(guest.context().last.error_code, 0U, "error code");
}

VMX_TEST(event_double_fault_exit, "vmx.event.double_fault_exit",
         "An intercepted #DF leaves L2 without IDT-vectoring information", SECTION) {
    L2 guest;
    double_fault(guest);
    guest.intercept_exception(8);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DF"))
        return;
    expect_equal(read(Field::exit_interruption_information) & ~std::uint64_t{1U << 12},
                 event_with_error_code(EventType::hardware_exception, 8), "VM-exit interruption information");
    expect_equal(read(Field::exit_interruption_error_code), 0U, "error code");
    expect_no_vectoring();
    expect_equal(read(Field::guest_rip), address_of(l2_vx_gp), "guest RIP");
}

VMX_TEST(event_double_fault_of_injected, "vmx.event.double_fault_of_injected",
         "An injected #GP that meets #NP is #DF, without IDT-vectoring information", SECTION) {
    L2 guest;
    start_code(guest, l2_vx_nop);
    gate_of(guest, 13)[0] &= ~present;
    write(Field::entry_interruption_information, gp_injected.value());
    write(Field::entry_exception_error_code, 0x10);
    guest.intercept_exception(8);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DF"))
        return;
    expect_equal(read(Field::exit_interruption_information) & ~std::uint64_t{1U << 12},
                 event_with_error_code(EventType::hardware_exception, 8), "VM-exit interruption information");
    expect_no_vectoring();
}

VMX_TEST(event_second_exception_exits, "vmx.event.delivery_np_before_df",
         "#NP during the delivery of #GP leaves L2 where L1 intercepts #NP, and is no #DF", SECTION) {
    L2 guest;
    double_fault(guest);
    guest.intercept_exception(8);
    guest.intercept_exception(11);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#NP"))
        return;
    expect_equal(read(Field::exit_interruption_information) & 0xff, 11U, "vector");
    expect_equal(read(Field::exit_interruption_error_code), 13U * 8 + 2 + 1, "error code");
    expect_equal(read(Field::idt_vectoring_information) & ~std::uint64_t{1U << 12},
                 event_with_error_code(EventType::hardware_exception, 13), "IDT-vectoring information");
}

namespace {

void triple_fault(L2& guest) {
    write(Field::exception_bitmap, 0);
    if (!guest.run_to(ExitReason::triple_fault, "the triple fault"))
        return;
    expect_no_vectoring();
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    // The shutdown did not happen.
    expect_equal(read(Field::guest_activity_state), activity_active, "activity state");
}

} // namespace

VMX_TEST(event_triple_fault_raised, "vmx.event.triple_fault_raised",
         "UD2 without an IDT is a triple-fault exit, without IDT-vectoring information", SECTION) {
    L2 guest;
    start_code(guest, l2_vx_ud2);
    write(Field::guest_idtr_limit, 0);
    triple_fault(guest);
    expect_equal(read(Field::guest_rip), address_of(l2_vx_ud2), "guest RIP");
}
VMX_TEST(event_triple_fault_injected, "vmx.event.triple_fault_injected",
         "An injected interrupt without an IDT is a triple-fault exit, without IDT-vectoring information",
         SECTION) {
    L2 guest;
    start_code(guest, l2_vx_nop);
    write(Field::guest_idtr_limit, 0);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::entry_interruption_information, interrupt_injected.value());
    triple_fault(guest);
    expect_equal(read(Field::guest_rip), address_of(l2_vx_nop), "guest RIP");
    expect_equal(read(Field::entry_interruption_information) >> 31, 0U, "VM-entry interruption information");
}
VMX_TEST(event_triple_fault_again, "vmx.event.triple_fault_goes_on",
         "After a triple-fault exit L2 runs on as L1 makes it", SECTION) {
    L2 guest;
    start_code(guest, l2_vx_ud2);
    write(Field::guest_idtr_limit, 0);
    triple_fault(guest);
    write(Field::guest_idtr_limit, 0xfff);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    guest.run_to(ExitReason::vmcall, "L2 goes on behind UD2");
    expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
}

} // namespace nestbed::vmx
