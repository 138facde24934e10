// Exits and faults in the middle of the delivery of an event: EXITINTINFO and what re-injecting it does
// (APM volume 2, 15.7.2, 15.7.3 and 15.20), and exceptions within exceptions (8.2.9).
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

// How the event comes about: by EVENTINJ, or on its own in L2.
enum class Source { injected, virtual_interrupt, physical_interrupt, physical_nmi, instruction };

struct Kind {
    Source source;
    EventType type;
    std::uint8_t vector;
    bool has_error = false;
    std::uint32_t error = 0;

    [[nodiscard]] constexpr std::uint64_t value() const {
        return has_error ? event(type, vector, error) : event(type, vector);
    }
};

L2_CODE(l2_event_landing, 64, "nop; nop; vmmcall");
L2_CODE(l2_event_ud2, 64, "ud2; vmmcall");

// Prepares L2 so that the event is delivered at once, with interrupts on, on the stack that start_blob() set.
template<Kind kind>
void prepare(L2& guest) {
    start_blob(guest, kind.source == Source::instruction ? l2_event_ud2 : l2_event_landing);
    guest.save().rflags = rflags_fixed | rflags_if;
    auto& control = guest.control();
    switch (kind.source) {
    case Source::injected:
        control.event_inj = kind.value();
        control.next_rip = guest.save().rip;
        break;
    case Source::virtual_interrupt:
        control.int_ctl = int_ctl::v_irq | int_ctl::v_intr_masking | 0xfU << int_ctl::v_intr_prio_shift;
        control.int_vector = kind.vector;
        break;
    case Source::physical_interrupt:
        guest.intercept(Intercept::intr, false);
        guest.context().end_of_interrupt = 1;
        clgi();
        interrupt_self(kind.vector);
        break;
    case Source::physical_nmi:
        clgi();
        nmi_self();
        break;
    case Source::instruction:
        break;
    }
    // Goes on behind UD2, whose #UD pushes its own address.
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        if (frame.vector == 6 && frame.rip == address_of(l2_event_ud2))
            frame.rip += 2;
        return true;
    };
}

template<Kind kind>
void expect_in_exit_int_info(L2& guest, std::uint64_t rip, std::uint64_t rsp) {
    // The vector of an NMI is no field of its own (15.20: ignored for this type).
    const std::uint64_t looked_at = kind.type == EventType::nmi ? ~std::uint64_t{0xff} : ~std::uint64_t{0};
    expect_equal(guest.control().exit_int_info & looked_at, kind.value() & looked_at, "EXITINTINFO");
    expect_equal(guest.control().event_inj & event_valid, 0U, "EVENTINJ.V");
    expect_equal(guest.save().rip, rip, "RIP, of the interrupted code");
    expect_equal(guest.save().rsp, rsp, "RSP, of the interrupted code");
    expect_equal(guest.save().rflags & (rflags_fixed | rflags_if), rflags_fixed | rflags_if,
                 "RFLAGS.IF, of the interrupted code");
    if (kind.source == Source::virtual_interrupt)
        expect_equal(guest.control().int_ctl & int_ctl::v_irq, 0U, "V_IRQ, since the interrupt was taken");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

template<Kind kind>
void reinject(L2& guest, std::uint64_t rip, std::uint64_t rsp) {
    guest.control().event_inj = guest.control().exit_int_info;
    guest.control().next_rip = rip;
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the event");
    const auto& context = guest.context();
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(context.last.vector, kind.vector, "vector");
    expect_equal(context.last.error_code, kind.error, "error code");
    // The hook has moved UD2's.
    expect_equal(context.last.rip, rip, "RIP on the stack");
    expect_equal(context.last.rsp, rsp, "RSP on the stack");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V of the last exit");
    settle();
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 has seen");
    if (kind.source == Source::physical_interrupt)
        expect_equal(interrupts_taken(kind.vector), 0U, "interrupts that L1 has seen");
}

// The page of `missing` is not there for the nested walk.
enum class Missing { stack, idt, gdt };

template<Kind kind, Missing missing>
void nested_fault() {
    if (kind.source == Source::physical_interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    prepare<kind>(guest);
    auto& context = guest.context();
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    const auto page = missing == Missing::stack ? (rsp - 8) & ~std::uint64_t{4095}
                      : missing == Missing::idt ? conform::physical(context.idt)
                                                : conform::physical(context.gdt) & ~std::uint64_t{4095};
    auto& entry = tables.entry(page, 1);
    entry &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the delivery meets the missing page");
    const auto write = missing == Missing::stack ? npf::write : 0;
    // A descriptor's read may as well come as the write that sets its accessed bit.
    const auto mask = missing == Missing::gdt ? ~npf::write : ~std::uint64_t{0};
    expect_equal(guest.control().exit_info_1 & mask, npf::final | npf::user | write, "EXITINFO1");
    expect_equal(guest.control().exit_info_2 & ~std::uint64_t{4095}, page, "EXITINFO2's page");
    expect_in_exit_int_info<kind>(guest, rip, rsp);
    entry |= npt_bit::present;
    reinject<kind>(guest, rip, rsp);
}

// The handler itself is not there: the event is delivered by then.
template<Kind kind>
void handler_missing() {
    if (kind.source == Source::physical_interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    prepare<kind>(guest);
    auto* const handler = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    handler[0] = 0x0f; // VMMCALL
    handler[1] = 0x01;
    handler[2] = 0xd9;
    point_gate_at(guest, kind.vector, conform::physical(handler));
    const auto rsp = guest.save().rsp;
    auto& entry = tables.entry(conform::physical(handler), 1);
    entry &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the fetch of the handler's first instruction");
    expect_equal(guest.control().exit_info_2, conform::physical(handler), "EXITINFO2");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    expect_equal(guest.save().rip, conform::physical(handler), "RIP");
    const std::uint64_t frame = kind.has_error ? 48 : 40;
    expect_equal(guest.save().rsp, (rsp & ~std::uint64_t{15}) - frame, "RSP below the frame");
    expect_equal(guest.save().rflags & rflags_if, 0U, "RFLAGS.IF");
    entry |= npt_bit::present;
    guest.run_to(ExitCode::vmmcall, "the handler");
    expect_equal(guest.save().rsp, (rsp & ~std::uint64_t{15}) - frame, "RSP: not delivered twice");
}

constexpr std::uint64_t nowhere = 0x7000'0000'0000; // canonical, mapped by nobody
constexpr std::uint64_t nowhere_top = nowhere + 0x800;

// The push raises #PF in L2's own page tables, and L1 intercepts it.
template<Kind kind>
void page_fault() {
    if (kind.source == Source::physical_interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    prepare<kind>(guest);
    guest.intercept_exception(14);
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    guest.save().rsp = nowhere_top;
    guest.save().cr2 = 0x1000;
    guest.run_to(exception_exit(14), "the push raises #PF");
    expect_equal(guest.control().exit_info_1, 2U, "EXITINFO1: a write, not present, ring 0");
    expect_equal(guest.control().exit_info_2 & ~std::uint64_t{0xfff}, nowhere, "EXITINFO2's page");
    // 15.12.15: CR2 is as before the fault where #PF is intercepted.
    expect_equal(guest.save().cr2, 0x1000U, "CR2");
    expect_in_exit_int_info<kind>(guest, rip, nowhere_top);
    guest.save().rsp = rsp;
    reinject<kind>(guest, rip, rsp);
}

// The gate is not present, and L1 intercepts #NP.
template<Kind kind>
void gate_missing() {
    if (kind.source == Source::physical_interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    prepare<kind>(guest);
    guest.intercept_exception(11);
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    auto& attributes = guest.context().idt[16 * kind.vector + 5];
    attributes &= 0x7f;
    guest.run_to(exception_exit(11), "the gate is not present");
    // Its error code has a case of its own.
    expect_in_exit_int_info<kind>(guest, rip, rsp);
    attributes |= 0x80;
    reinject<kind>(guest, rip, rsp);
}

// Interrupted, and the fault interferes twice: EXITINTINFO is there again.
template<Kind kind>
void fault_twice() {
    if (kind.source == Source::physical_interrupt)
        count_interrupts(kind.vector);
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    prepare<kind>(guest);
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    auto& idt = tables.entry(conform::physical(guest.context().idt), 1);
    auto& stack = tables.entry((rsp - 8) & ~std::uint64_t{4095}, 1);
    idt &= ~npt_bit::present;
    stack &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the read of the gate");
    expect_in_exit_int_info<kind>(guest, rip, rsp);
    idt |= npt_bit::present;
    guest.control().event_inj = guest.control().exit_int_info;
    guest.run_to(ExitCode::npf, "the push");
    expect_equal(guest.control().exit_info_2 & ~std::uint64_t{4095}, (rsp - 8) & ~std::uint64_t{4095},
                 "EXITINFO2's page");
    expect_in_exit_int_info<kind>(guest, rip, rsp);
    stack |= npt_bit::present;
    reinject<kind>(guest, rip, rsp);
}

} // namespace

#define EVENT_DELIVERY(name, text, ...)                                                                      \
    SVM_CASE(event_npf_stack_##name, "svm.event.npf_on_stack_" #name,                                        \
             "A nested page fault on the stack saves " text " in EXITINTINFO, and it can be injected again", \
             "15.7.2", (&nested_fault<Kind{__VA_ARGS__}, Missing::stack>), .needs = "npt")                   \
    SVM_CASE(event_npf_idt_##name, "svm.event.npf_on_idt_" #name,                                            \
             "A nested page fault on the IDT saves " text " in EXITINTINFO, and it can be injected again",   \
             "15.7.2", (&nested_fault<Kind{__VA_ARGS__}, Missing::idt>), .needs = "npt")                     \
    SVM_CASE(event_npf_gdt_##name, "svm.event.npf_on_gdt_" #name,                                            \
             "A nested page fault on the GDT saves " text " in EXITINTINFO, and it can be injected again",   \
             "15.7.2", (&nested_fault<Kind{__VA_ARGS__}, Missing::gdt>), .needs = "npt")                     \
    SVM_CASE(event_npf_handler_##name, "svm.event.npf_on_handler_" #name,                                    \
             "A nested page fault on the handler comes after " text " was delivered", "15.7.2",              \
             (&handler_missing<Kind{__VA_ARGS__}>), .needs = "npt")                                          \
    SVM_CASE(event_npf_twice_##name, "svm.event.npf_twice_" #name,                                           \
             "Two nested page faults in a row each save " text " in EXITINTINFO", "15.7.2",                  \
             (&fault_twice<Kind{__VA_ARGS__}>), .needs = "npt")                                              \
    SVM_CASE(event_pf_##name, "svm.event.pf_on_stack_" #name,                                                \
             "An intercepted #PF on the stack saves " text " in EXITINTINFO", "15.7.2",                      \
             (&page_fault<Kind{__VA_ARGS__}>))                                                               \
    SVM_CASE(event_np_##name, "svm.event.gate_not_present_" #name,                                           \
             "An intercepted #NP of the gate saves " text " in EXITINTINFO", "15.7.2",                       \
             (&gate_missing<Kind{__VA_ARGS__}>))

EVENT_DELIVERY(interrupt, "an injected interrupt", Source::injected, EventType::interrupt, 0x41)
EVENT_DELIVERY(nmi, "an injected NMI", Source::injected, EventType::nmi, 2)
EVENT_DELIVERY(ud, "an injected #UD", Source::injected, EventType::exception, 6)
EVENT_DELIVERY(gp, "an injected #GP with its error code", Source::injected, EventType::exception, 13, true,
               0x5678)
EVENT_DELIVERY(virtual_interrupt, "a virtual interrupt", Source::virtual_interrupt, EventType::interrupt,
               0x42)
EVENT_DELIVERY(physical_interrupt, "a physical interrupt that L1 does not intercept",
               Source::physical_interrupt, EventType::interrupt, 0x43)
EVENT_DELIVERY(physical_nmi, "a physical NMI that L1 does not intercept", Source::physical_nmi,
               EventType::nmi, 2)
EVENT_DELIVERY(own_ud, "L2's own #UD", Source::instruction, EventType::exception, 6)

SVM_CASE(event_npf_stack_int, "svm.event.npf_on_stack_int",
         "A nested page fault on the stack saves an injected INT n in EXITINTINFO", "15.7.2",
         (&nested_fault<Kind{Source::injected, EventType::software_interrupt, 0x80}, Missing::stack>),
         .needs = "npt,nrip_save")
SVM_CASE(event_npf_idt_int, "svm.event.npf_on_idt_int",
         "A nested page fault on the IDT saves an injected INT n in EXITINTINFO", "15.7.2",
         (&nested_fault<Kind{Source::injected, EventType::software_interrupt, 0x80}, Missing::idt>),
         .needs = "npt,nrip_save")

// Each entry of a fault in L2's own tables, not L1's to see.
namespace {
// Vector 13 is injected, its gate is not present: #NP while #GP is delivered is a double fault (8.2.9).
void break_gate(L2& guest, std::uint8_t vector) {
    guest.context().idt[16 * vector + 5] &= 0x7f;
}
} // namespace

SVM_TEST(event_gp_np_is_df, "svm.event.gp_then_np_is_df",
         "#NP while an injected #GP is delivered is a #DF with error code 0", "15.20") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    break_gate(guest, 13);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = event(EventType::exception, 13, 0x10);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #DF");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 8U, "vector");
    expect_equal(guest.context().last.error_code, 0U, "error code");
    expect_equal(guest.context().last.rip, address_of(l2_event_landing), "RIP on the stack");
}
SVM_TEST(event_gp_np_df_intercepted, "svm.event.gp_then_np_df_intercepted",
         "The #DF that an injected #GP turns into is intercepted", "15.12.9") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    break_gate(guest, 13);
    guest.intercept_exception(8);
    guest.control().event_inj = event(EventType::exception, 13, 0x10);
    guest.run_to(exception_exit(8), "#DF");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest.save().rip, address_of(l2_event_landing), "RIP");
    expect_equal(guest.control().exit_info_1, 0U, "EXITINFO1: #DF's error code");
}
SVM_TEST(event_interrupt_np_is_np, "svm.event.interrupt_then_np_is_np",
         "#NP while an injected interrupt is delivered is a #NP of its own", "15.20") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    break_gate(guest, 0x50);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = event(EventType::interrupt, 0x50);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #NP");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 11U, "vector");
    expect_equal(guest.context().last.rip, address_of(l2_event_landing), "RIP on the stack");
}
SVM_TEST(event_interrupt_np_ext, "svm.event.interrupt_then_np_ext",
         "The error code of a #NP while an external interrupt is delivered has EXT set", "8.4.1") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    break_gate(guest, 0x50);
    guest.intercept_exception(11);
    guest.control().event_inj = event(EventType::interrupt, 0x50);
    guest.run_to(exception_exit(11), "#NP");
    expect_equal(guest.control().exit_info_1, 0x50U * 8 + 3, "EXITINFO1");
}
SVM_TEST(event_np_error_code, "svm.event.gate_not_present_error_code",
         "The error code of a #NP of a gate is the gate's number with the IDT bit, for the handler too",
         "8.4.1") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    break_gate(guest, 0x50);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = event(EventType::interrupt, 0x50);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #NP");
    expect_equal(guest.context().last.error_code & ~std::uint64_t{1}, 0x50U * 8 + 2,
                 "error code, but for EXT");
}

// L2's own, which neither L1 nor L0 has any part in.
namespace {
L2_CODE(l2_event_own_gp, 64,
        "movl $0x1f8, %eax; .globl l2_event_own_gp_at; l2_event_own_gp_at: mov %eax, %ds; vmmcall");
extern "C" const char l2_event_own_gp_at[];
} // namespace
SVM_TEST(event_own_gp_np_is_df, "svm.event.own_gp_then_np_is_df",
         "#NP while L2's own #GP is delivered is a #DF with error code 0", "8.2.9") {
    L2 guest;
    warm_up(guest);
    start_blob(guest, l2_event_own_gp);
    break_gate(guest, 13);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #DF");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 8U, "vector");
    expect_equal(guest.context().last.error_code, 0U, "error code");
}
SVM_TEST(event_own_gp_np_df_intercepted, "svm.event.own_gp_then_np_df_intercepted",
         "The #DF that L2's own #GP turns into is intercepted", "15.12.9") {
    L2 guest;
    warm_up(guest);
    start_blob(guest, l2_event_own_gp);
    break_gate(guest, 13);
    guest.intercept_exception(8);
    guest.run_to(exception_exit(8), "#DF");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(l2_event_own_gp_at), "RIP");
}

SVM_TEST(event_ud_np_is_np, "svm.event.ud_then_np_is_np",
         "#NP while L2's own #UD is delivered is a #NP: #UD is not contributory", "8.2.9") {
    L2 guest;
    start_blob(guest, l2_event_ud2);
    break_gate(guest, 6);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #NP");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 11U, "vector");
    expect_equal(guest.context().last.rip, address_of(l2_event_ud2), "RIP on the stack");
}
SVM_TEST(event_pf_pf_is_df, "svm.event.pf_then_pf_is_df",
         "#PF on the stack while an injected #PF is delivered is a #DF, on its IST stack", "8.2.9") {
    L2 guest;
    start_blob(guest, l2_event_landing);
    const auto rsp = guest.save().rsp;
    guest.save().rsp = nowhere_top;
    guest.context().idt[16 * 8 + 4] = 1; // #DF: IST1
    // IST1 is at offset 24h of the task state segment (figure 12-8).
    *reinterpret_cast<std::uint64_t*>(guest.context().tss + 0x24) = rsp;
    guest.context().value[0] = rsp;
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rsp = conform::l2_context().value[0];
        return true;
    };
    guest.control().event_inj = event(EventType::exception, 14, 0);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #DF");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 8U, "vector");
    expect_equal(guest.context().last.rip, address_of(l2_event_landing), "RIP on the stack");
}

// Events that L0 raises for L2 itself, since it is L0 that finds them out: they go through the same
// intercepts and gates.
namespace {
L2_CODE(l2_event_bad_rdmsr, 64, "movl $0x12345678, %ecx; rdmsr; vmmcall");
constexpr std::uint64_t bad_rdmsr_bytes = 5;
} // namespace

SVM_TEST(event_l0_gp_intercepted, "svm.event.l0_gp_intercepted",
         "#GP of an MSR that nobody has is L1's to intercept, with its error code and RIP", "15.12.14") {
    L2 guest;
    start_blob(guest, l2_event_bad_rdmsr);
    guest.intercept_exception(13);
    guest.run_to(exception_exit(13), "#GP");
    expect_equal(guest.control().exit_info_1, 0U, "EXITINFO1: the error code");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    expect_equal(guest.save().rip, address_of(l2_event_bad_rdmsr) + bad_rdmsr_bytes, "RIP");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}
SVM_TEST(event_l0_gp_delivered, "svm.event.l0_gp_delivered",
         "#GP of an MSR that nobody has reaches L2 once where L1 does not intercept it", "15.12.14") {
    L2 guest;
    start_blob(guest, l2_event_bad_rdmsr);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #GP");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 13U, "vector");
    expect_equal(guest.context().last.error_code, 0U, "error code");
    expect_equal(guest.context().last.rip, address_of(l2_event_bad_rdmsr) + bad_rdmsr_bytes,
                 "RIP on the stack");
}
SVM_TEST(event_l0_gp_npf_on_stack, "svm.event.l0_gp_npf_on_stack",
         "A nested page fault while #GP of an MSR is delivered saves #GP in EXITINTINFO", "15.7.2",
         .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    start_blob(guest, l2_event_bad_rdmsr);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    auto& stack = tables.entry((guest.save().rsp - 8) & ~std::uint64_t{4095}, 1);
    stack &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the push");
    expect_equal(guest.control().exit_int_info, event(EventType::exception, 13, 0), "EXITINTINFO");
    expect_equal(guest.save().rip, address_of(l2_event_bad_rdmsr) + bad_rdmsr_bytes, "RIP");
    stack |= npt_bit::present;
    guest.control().event_inj = guest.control().exit_int_info;
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #GP");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}
SVM_TEST(event_l0_gp_np_is_df, "svm.event.l0_gp_then_np_is_df",
         "#NP while #GP of an MSR is delivered is a #DF", "8.2.9") {
    L2 guest;
    start_blob(guest, l2_event_bad_rdmsr);
    break_gate(guest, 13);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip += 2;
        return true;
    };
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the #DF");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 8U, "vector");
}

// L1 drops the event in place of injecting it again: it is gone for good.
SVM_TEST(event_dropped, "svm.event.exit_int_info_dropped",
         "An event in EXITINTINFO that L1 does not inject again does not come back", "15.7.2",
         .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    start_blob(guest, l2_event_landing);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x44);
    auto& idt = tables.entry(conform::physical(guest.context().idt), 1);
    idt &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the read of the gate");
    expect_equal(guest.control().exit_int_info, event(EventType::interrupt, 0x44), "EXITINTINFO");
    idt |= npt_bit::present;
    guest.run_to(ExitCode::vmmcall, "L2 goes on without the event");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
}
SVM_TEST(event_other_injected, "svm.event.exit_int_info_replaced",
         "L1 may inject another event in place of the one in EXITINTINFO", "15.20", .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    start_blob(guest, l2_event_landing);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x44);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    auto& idt = tables.entry(conform::physical(guest.context().idt), 1);
    idt &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the read of the gate");
    idt |= npt_bit::present;
    guest.control().event_inj = event(EventType::exception, 14, 6);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the other event");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, 14U, "vector");
    expect_equal(guest.context().last.error_code, 6U, "error code");
}
SVM_TEST(event_int_info_other_guest, "svm.event.exit_int_info_other_vmcb",
         "An event that waits in one VMCB's EXITINTINFO is not delivered to another guest", "15.7.2",
         .needs = "npt") {
    L2 guest;
    L2 other;
    NestedPageTables tables;
    tables.use_in(guest);
    start_blob(guest, l2_event_landing);
    start_blob(other, l2_event_landing);
    other.save().rflags = guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::nmi, 2);
    auto& idt = tables.entry(conform::physical(guest.context().idt), 1);
    idt &= ~npt_bit::present;
    guest.run_to(ExitCode::npf, "the read of the gate");
    other.run_to(ExitCode::vmmcall, "the other guest runs undisturbed");
    expect_equal(other.context().delivered, 0U, "events that the other guest has seen");
    expect_equal(other.control().exit_int_info & event_valid, 0U, "the other guest's EXITINTINFO.V");
    idt |= npt_bit::present;
    guest.control().event_inj = guest.control().exit_int_info;
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind the NMI");
    expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has seen");
    settle();
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 has seen");
}

} // namespace nestbed::svm
