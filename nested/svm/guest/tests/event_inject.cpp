// EVENTINJ: each type and class of vector, seen from L2's handler (APM volume 2, 15.20).
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/tests/refusal_retry.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint64_t no_error = ~std::uint64_t{0};
// Arithmetic flags and IF: all that the code under test may find set.
constexpr std::uint64_t all_flags = 0x8d5 | rflags_fixed | rflags_if;

struct Injected {
    EventType type;
    std::uint8_t vector;
    std::uint64_t error = no_error;

    [[nodiscard]] constexpr std::uint64_t value() const {
        return error == no_error ? event(type, vector)
                                 : event(type, vector, static_cast<std::uint32_t>(error));
    }
    // INT n, and what behaves like INT3 (15.20): they push the address behind the instruction, which is nRIP.
    [[nodiscard]] constexpr bool is_software() const {
        return type == EventType::software_interrupt || (type == EventType::exception && vector == 3);
    }
};

// Where L1 has nested page tables they are fresh, so that L0 has none of its own yet and has to step in while
// the event is delivered.
enum class Paging { off, nested };
enum class Ring { kernel, user };

void expect_no_event_left(L2& guest) {
    expect_equal(guest.control().event_inj & event_valid, 0U, "EVENTINJ.V after the exit");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V after the exit");
}

bool note_handler_flags(guest::ExceptionFrame&) {
    std::uint64_t flags = 0;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    conform::l2_context().value[0] = flags;
    conform::l2_context().value[1] = guest::control_register<2>();
    return true;
}

template<Injected injected, Paging paging = Paging::off, Ring ring = Ring::kernel,
         std::uint64_t rflags = all_flags>
void inject() {
    L2 guest;
    if (paging == Paging::nested) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    guest.start(code);
    if (ring == Ring::user)
        begin_in_ring_3(guest);
    guest.context().hook = &note_handler_flags;
    guest.save().rflags = rflags;
    guest.save().cr2 = 0x1234'5678'9000;
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    const auto cs = guest.save().cs.selector;
    const auto ss = guest.save().ss.selector;
    auto expected_rip = rip;
    if (injected.is_software()) {
        // The code begins where nRIP says; RIP itself is the instruction's, and is not looked at.
        guest.control().next_rip = rip;
        guest.save().rip = rip - 2;
    }
    guest.control().event_inj = injected.value();
    guest.run_to_end("L2 goes on behind the injected event");
    const auto& context = guest.context();
    const auto& frame = context.last;
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(frame.vector, injected.vector, "vector");
    expect_equal(frame.error_code, injected.error == no_error ? 0 : injected.error, "error code");
    expect_equal(frame.rip, expected_rip, "RIP on the stack");
    expect_equal(frame.cs, cs, "CS on the stack");
    expect_equal(frame.rflags & ~rflags_rf, rflags, "RFLAGS on the stack, but for RF");
    expect_equal(frame.rsp, rsp, "RSP on the stack");
    // In 64-bit mode SS of ring 0 may be null as well, but not here.
    expect_equal(frame.ss, ss, "SS on the stack");
    expect_equal(context.value[0] & rflags_if, 0U, "RFLAGS.IF in the handler behind an interrupt gate");
    expect_equal(context.value[0] & rflags_tf, 0U, "RFLAGS.TF in the handler");
    expect_equal(context.value[1], 0x1234'5678'9000U, "CR2 in the handler: VMRUN's, not changed by EVENTINJ");
    expect_equal(seen, 1U, "the interrupted code has run");
    expect_no_event_left(guest);
}

constexpr std::uint64_t flags_without_if = all_flags & ~rflags_if;

} // namespace

// name, type, vector, error code, text
// Software interrupts, and INT3 as such, "cannot be properly injected if the processor does not support the
// NextRIP field" (15.20): HARDWARE and SOFTWARE say what a case needs beyond.
#define HARDWARE ""
#define SOFTWARE "nrip_save"
#define EVENT_INJECT(name, event_type, vector, error, text, more)                                            \
    SVM_CASE(event_inject_##name, "svm.event.inject_" #name, "EVENTINJ delivers " text, "15.20",             \
             (&inject<Injected{EventType::event_type, vector, error}>), .needs = more)                       \
    SVM_CASE(event_inject_##name##_npt, "svm.event.inject_" #name "_npt",                                    \
             "EVENTINJ delivers " text " on fresh nested page tables", "15.20",                              \
             (&inject<Injected{EventType::event_type, vector, error}, Paging::nested>),                      \
             .needs = "npt," more)                                                                           \
    SVM_CASE(event_inject_##name##_ring3, "svm.event.inject_" #name "_ring3",                                \
             "EVENTINJ delivers " text " in ring 3, on the stack of RSP0", "15.20",                          \
             (&inject<Injected{EventType::event_type, vector, error}, Paging::off, Ring::user>),             \
             .needs = more)                                                                                  \
    SVM_CASE(event_inject_##name##_ring3_npt, "svm.event.inject_" #name "_ring3_npt",                        \
             "EVENTINJ delivers " text " in ring 3 on fresh nested page tables", "15.20",                    \
             (&inject<Injected{EventType::event_type, vector, error}, Paging::nested, Ring::user>),          \
             .needs = "npt," more)

EVENT_INJECT(interrupt_32, interrupt, 32, no_error, "interrupt 32", HARDWARE)
EVENT_INJECT(interrupt_255, interrupt, 255, no_error, "interrupt 255", HARDWARE)
EVENT_INJECT(nmi, nmi, 2, no_error, "an NMI", HARDWARE)
EVENT_INJECT(de, exception, 0, no_error, "#DE", HARDWARE)
EVENT_INJECT(db, exception, 1, no_error, "#DB", HARDWARE)
EVENT_INJECT(bp, exception, 3, no_error, "#BP", SOFTWARE)
EVENT_INJECT(ud, exception, 6, no_error, "#UD", HARDWARE)
EVENT_INJECT(nm, exception, 7, no_error, "#NM", HARDWARE)
EVENT_INJECT(df, exception, 8, 0, "#DF", HARDWARE)
EVENT_INJECT(ts, exception, 10, 0x28, "#TS", HARDWARE)
EVENT_INJECT(np, exception, 11, 0x38, "#NP", HARDWARE)
EVENT_INJECT(ss, exception, 12, 0x10, "#SS", HARDWARE)
EVENT_INJECT(gp, exception, 13, 0xfff8, "#GP", HARDWARE)
EVENT_INJECT(pf, exception, 14, 0x15, "#PF", HARDWARE)
EVENT_INJECT(mf, exception, 16, no_error, "#MF", HARDWARE)
EVENT_INJECT(ac, exception, 17, 0, "#AC", HARDWARE)
EVENT_INJECT(mc, exception, 18, no_error, "#MC", HARDWARE)
EVENT_INJECT(xf, exception, 19, no_error, "#XF", HARDWARE)
EVENT_INJECT(int_32, software_interrupt, 32, no_error, "INT 32", SOFTWARE)
EVENT_INJECT(int_128, software_interrupt, 128, no_error, "INT 80h", SOFTWARE)
EVENT_INJECT(int_255, software_interrupt, 255, no_error, "INT 255", SOFTWARE)

// No consistency check of VMRUN looks at IF, nor does the delivery (15.20).
SVM_CASE(event_inject_interrupt_if_0, "svm.event.inject_interrupt_if_0",
         "EVENTINJ delivers an interrupt with RFLAGS.IF=0", "15.20",
         (&inject<Injected{EventType::interrupt, 48}, Paging::off, Ring::kernel, flags_without_if>))
SVM_CASE(event_inject_interrupt_if_0_npt, "svm.event.inject_interrupt_if_0_npt",
         "EVENTINJ delivers an interrupt with RFLAGS.IF=0 on fresh nested page tables", "15.20",
         (&inject<Injected{EventType::interrupt, 48}, Paging::nested, Ring::kernel, flags_without_if>),
         .needs = "npt")
SVM_CASE(event_inject_nmi_if_0, "svm.event.inject_nmi_if_0", "EVENTINJ delivers an NMI with RFLAGS.IF=0",
         "15.20", (&inject<Injected{EventType::nmi, 2}, Paging::off, Ring::kernel, flags_without_if>))
SVM_CASE(event_inject_gp_if_0, "svm.event.inject_gp_if_0", "EVENTINJ delivers #GP with RFLAGS.IF=0", "15.20",
         (&inject<Injected{EventType::exception, 13, 0x10}, Paging::off, Ring::kernel, flags_without_if>))
// The vector of an NMI is 2, whatever EVENTINJ says (15.20: the field is ignored).
SVM_TEST(event_inject_nmi_vector_ignored, "svm.event.inject_nmi_vector_ignored",
         "EVENTINJ of type NMI uses vector 2, whatever its vector field says", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().event_inj = event(EventType::nmi, 0x77);
    guest.run_to_end();
    expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}

namespace {
template<EventType type>
void every_vector(unsigned first) {
    L2 guest;
    for (unsigned vector = first; vector < 256; ++vector) {
        auto code = [] {};
        guest.start(code);
        guest.save().rflags = rflags_fixed;
        guest.control().next_rip = guest.save().rip;
        guest.control().event_inj = event(type, static_cast<std::uint8_t>(vector));
        if (!guest.run_to_end() ||
            !expect_equal(guest.context().interrupts[vector], 1U,
                          conform::Text{"events of vector ", vector, " that L2 has seen"}))
            return;
    }
    expect_equal(guest.context().delivered, 256 - first, "events that L2 has seen in all");
}
} // namespace

SVM_TEST(event_inject_every_interrupt, "svm.event.inject_every_interrupt",
         "EVENTINJ delivers each external interrupt from 32 to 255 once, under its own vector", "15.20") {
    every_vector<EventType::interrupt>(32);
}
SVM_TEST(event_inject_every_int, "svm.event.inject_every_int",
         "EVENTINJ delivers INT n for each n from 32 to 255 once, under its own vector", "15.20",
         .needs = "nrip_save") {
    every_vector<EventType::software_interrupt>(32);
}

// Injected events are not intercepted: 15.20, "injected events are not subject to intercept checks".
namespace {
template<Injected injected>
void inject_intercepted() {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().next_rip = guest.save().rip;
    guest.control().intercept_exceptions = ~0U;
    guest.intercept(Intercept::nmi);
    guest.intercept(Intercept::swint);
    guest.intercept(Intercept::vintr);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = injected.value();
    guest.run_to_end("an injected event is not intercepted");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, injected.vector, "vector");
    expect_no_event_left(guest);
}
} // namespace

#define EVENT_INTERCEPTED(name, event_type, vector, error, text, more)                                       \
    SVM_CASE(event_inject_intercepted_##name, "svm.event.inject_intercepted_" #name,                         \
             "EVENTINJ delivers " text " although its intercept is set", "15.20",                            \
             (&inject_intercepted<Injected{EventType::event_type, vector, error}>), .needs = more)

EVENT_INTERCEPTED(interrupt, interrupt, 0x41, no_error, "an interrupt", HARDWARE)
EVENT_INTERCEPTED(nmi, nmi, 2, no_error, "an NMI", HARDWARE)
EVENT_INTERCEPTED(db, exception, 1, no_error, "#DB", HARDWARE)
EVENT_INTERCEPTED(bp, exception, 3, no_error, "#BP", SOFTWARE)
EVENT_INTERCEPTED(ud, exception, 6, no_error, "#UD", HARDWARE)
EVENT_INTERCEPTED(df, exception, 8, 0, "#DF", HARDWARE)
EVENT_INTERCEPTED(gp, exception, 13, 0, "#GP", HARDWARE)
EVENT_INTERCEPTED(pf, exception, 14, 2, "#PF", HARDWARE)
EVENT_INTERCEPTED(ac, exception, 17, 0, "#AC", HARDWARE)
EVENT_INTERCEPTED(mc, exception, 18, no_error, "#MC", HARDWARE)
EVENT_INTERCEPTED(int, software_interrupt, 0x80, no_error, "INT n", SOFTWARE)

// What cannot be injected (15.20): reserved types, and exceptions that are none.
namespace {
template<std::uint64_t value>
void refused() {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().event_inj = value;
    RefusalRetry retry{guest};
    do
        guest.run();
    while (retry.again());
    expect_equal(guest.control().exit_code, ExitCode::invalid,
                 conform::Text{"EXITCODE: EVENTINJ ", conform::Hex{value}});
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}
template<std::uint8_t type, std::uint8_t vector = 0x30>
void refused_type() {
    refused<event_valid | std::uint64_t{type} << 8 | vector>();
}
} // namespace

SVM_CASE(event_invalid_type_1, "svm.event.invalid_type_1", "VMRUN refuses EVENTINJ of reserved type 1",
         "15.20", &refused_type<1>)
SVM_CASE(event_invalid_type_5, "svm.event.invalid_type_5", "VMRUN refuses EVENTINJ of reserved type 5",
         "15.20", &refused_type<5>)
SVM_CASE(event_invalid_type_6, "svm.event.invalid_type_6", "VMRUN refuses EVENTINJ of reserved type 6",
         "15.20", &refused_type<6>)
SVM_CASE(event_invalid_type_7, "svm.event.invalid_type_7", "VMRUN refuses EVENTINJ of reserved type 7",
         "15.20", &refused_type<7>)
SVM_CASE(event_invalid_exception_2, "svm.event.invalid_exception_2",
         "VMRUN refuses to inject vector 2 as an exception", "15.20", (&refused_type<3, 2>))
SVM_CASE(event_invalid_exception_32, "svm.event.invalid_exception_32",
         "VMRUN refuses to inject vector 32 as an exception", "15.20", (&refused_type<3, 32>))
SVM_CASE(event_invalid_exception_255, "svm.event.invalid_exception_255",
         "VMRUN refuses to inject vector 255 as an exception", "15.20", (&refused_type<3, 255>))
SVM_CASE(event_invalid_br_in_64_bit, "svm.event.invalid_br_in_64_bit",
         "VMRUN refuses to inject #BR in 64-bit mode, where BOUND does not exist", "15.20",
         (&refused_type<3, 5>))

SVM_TEST(event_inject_not_valid, "svm.event.inject_not_valid",
         "EVENTINJ with V=0 injects nothing, whatever the rest of it says", "15.20") {
    constexpr std::uint64_t values[] = {0x0000'0000'0000'0b0d, 0x1234'5678'0000'0b0e, 0x0000'0000'0000'0202,
                                        0x0000'0000'0000'0720, 0xffff'ffff'7fff'ffff};
    for (const auto value : values) {
        L2 guest;
        auto code = [] {};
        guest.start(code);
        guest.control().event_inj = value;
        guest.run_to_end();
        expect_equal(guest.context().delivered, 0U,
                     conform::Text{"events that L2 has seen, EVENTINJ ", conform::Hex{value}});
    }
}

// VMRUN's reference in APM volume 3: "clear EVENTINJ field in VMCB" at #VMEXIT.
SVM_TEST(event_field_cleared, "svm.event.field_cleared",
         "#VMEXIT clears all of EVENTINJ, error code included", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = event(EventType::exception, 13, 0x18);
    guest.run_to_end();
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.control().event_inj, 0U, "EVENTINJ after the exit");
}
SVM_TEST(event_field_cleared_after_invalid, "svm.event.field_cleared_after_invalid",
         "VMEXIT_INVALID clears EVENTINJ like any #VMEXIT", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().asid = 0; // refused by VMRUN itself (15.5.1)
    guest.control().event_inj = event(EventType::interrupt, 0x40);
    guest.run_to(ExitCode::invalid, "ASID 0");
    expect_equal(guest.control().event_inj & event_valid, 0U, "EVENTINJ.V after the exit");
}
SVM_TEST(event_refused_is_not_kept, "svm.event.refused_is_not_kept",
         "An event of a VMRUN that was refused is not delivered by the next one", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().asid = 0;
    guest.control().event_inj = event(EventType::nmi, 2);
    guest.run_to(ExitCode::invalid, "ASID 0");
    guest.control().asid = 1;
    guest.control().event_inj = 0;
    guest.run_to_end();
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 has seen");
}

SVM_TEST(event_inject_once, "svm.event.inject_once", "An injected event is delivered once over many VMRUNs",
         "15.20") {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    auto code = [] {
        for (int i = 0; i < 10; ++i)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    guest.save().rflags |= rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x40);
    for (int i = 0; i < 10; ++i) {
        if (!guest.run_to(ExitCode::cpuid, "an exit after the event"))
            return;
        expect_no_event_left(guest);
        guest.skip(2);
    }
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x40], 1U, "interrupts that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}

SVM_TEST(event_inject_each_run, "svm.event.inject_each_run",
         "A thousand VMRUNs deliver a thousand injected events, each once and in order", "15.20") {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    auto code = [] {
        for (;;)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    guest.save().rflags |= rflags_if;
    for (unsigned i = 0; i < 1000; ++i) {
        const auto vector = static_cast<std::uint8_t>(32 + i % 224);
        const auto before = guest.context().interrupts[vector];
        guest.control().event_inj = event(EventType::interrupt, vector);
        if (!guest.run_to(ExitCode::cpuid, "an exit after the event") ||
            !expect_equal(guest.context().interrupts[vector], before + 1,
                          conform::Text{"interrupts of vector ", static_cast<unsigned>(vector)}))
            return;
        guest.skip(2);
    }
    expect_equal(guest.context().delivered, 1000U, "events that L2 has seen");
}

// The exit that follows is the handler's first instruction's: nothing of the event is left, the frame is
// pushed.
L2_CODE(l2_handler_vmmcall, 64, "vmmcall; hlt");

namespace {
template<Injected injected>
void exit_in_handler() {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = all_flags;
    guest.control().next_rip = guest.save().rip;
    point_gate_at(guest, injected.vector, address_of(l2_handler_vmmcall));
    guest.control().event_inj = injected.value();
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    guest.run_to(ExitCode::vmmcall, "the handler's first instruction");
    expect_no_event_left(guest);
    const std::uint64_t pushed = injected.error == no_error ? 40 : 48;
    expect_equal(guest.save().rip, address_of(l2_handler_vmmcall), "RIP");
    expect_equal(guest.save().rsp, (rsp & ~std::uint64_t{15}) - pushed, "RSP below the frame");
    expect_equal(guest.save().rflags & (rflags_if | rflags_tf), 0U, "RFLAGS.IF and TF behind the gate");
    expect_equal(guest.save().rflags & 0x8d5, all_flags & 0x8d5, "RFLAGS' arithmetic flags");
    const auto* const frame = guest::pointer_to<std::uint64_t>(guest.save().rsp + pushed - 40);
    expect_equal(frame[0], rip, "RIP on the stack");
    if (injected.error != no_error)
        expect_equal(frame[-1], injected.error, "error code on the stack");
}
} // namespace

SVM_CASE(event_exit_in_handler_interrupt, "svm.event.exit_in_handler_interrupt",
         "An exit right after an injected interrupt finds it delivered", "15.20",
         (&exit_in_handler<Injected{EventType::interrupt, 0x40}>))
SVM_CASE(event_exit_in_handler_nmi, "svm.event.exit_in_handler_nmi",
         "An exit right after an injected NMI finds it delivered", "15.20",
         (&exit_in_handler<Injected{EventType::nmi, 2}>))
SVM_CASE(event_exit_in_handler_ud, "svm.event.exit_in_handler_ud",
         "An exit right after an injected #UD finds it delivered", "15.20",
         (&exit_in_handler<Injected{EventType::exception, 6}>))
SVM_CASE(event_exit_in_handler_gp, "svm.event.exit_in_handler_gp",
         "An exit right after an injected #GP finds it delivered, with its error code", "15.20",
         (&exit_in_handler<Injected{EventType::exception, 13, 0x1230}>))
SVM_CASE(event_exit_in_handler_int, "svm.event.exit_in_handler_int",
         "An exit right after an injected INT n finds it delivered", "15.20",
         (&exit_in_handler<Injected{EventType::software_interrupt, 0x80}>), .needs = "nrip_save")

// INT n and INT3 are held to the gate's DPL, hardware events are not (15.20, and 8.9.3).
namespace {
template<Injected injected, bool checked>
void gate_dpl() {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    begin_in_ring_3(guest);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().next_rip = guest.save().rip;
    guest.context().idt[16 * injected.vector + 5] = 0x8e; // DPL 0
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().event_inj = injected.value();
    guest.run_to_end();
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.vector, checked ? 13 : injected.vector, "vector");
    expect_equal(guest.context().last.error_code, checked ? injected.vector * 8U + 2 : 0U, "error code");
}
} // namespace

SVM_CASE(event_gate_dpl_int, "svm.event.gate_dpl_int",
         "An injected INT n in ring 3 through a gate of DPL 0 is a #GP with the gate as its error code",
         "15.20", (&gate_dpl<Injected{EventType::software_interrupt, 0x80}, true>), .needs = "nrip_save")
SVM_CASE(event_gate_dpl_bp, "svm.event.gate_dpl_bp",
         "An injected #BP in ring 3 through a gate of DPL 0 is a #GP with the gate as its error code",
         "15.20", (&gate_dpl<Injected{EventType::exception, 3}, true>), .needs = "nrip_save")
SVM_CASE(event_gate_dpl_interrupt, "svm.event.gate_dpl_interrupt",
         "An injected interrupt in ring 3 goes through a gate of DPL 0", "15.20",
         (&gate_dpl<Injected{EventType::interrupt, 0x80}, false>))
SVM_CASE(event_gate_dpl_nmi, "svm.event.gate_dpl_nmi",
         "An injected NMI in ring 3 goes through a gate of DPL 0", "15.20",
         (&gate_dpl<Injected{EventType::nmi, 2}, false>))
SVM_CASE(event_gate_dpl_ud, "svm.event.gate_dpl_ud", "An injected #UD in ring 3 goes through a gate of DPL 0",
         "15.20", (&gate_dpl<Injected{EventType::exception, 6}, false>))

// nRIP against RIP (15.20, 15.7.1): the former is what INT n pushes where the processor saves it.
SVM_TEST(event_inject_int_next_rip, "svm.event.inject_int_next_rip", "An injected INT n pushes nRIP, not RIP",
         "15.20", .needs = "nrip_save") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    const auto rip = guest.save().rip;
    guest.control().next_rip = rip;
    guest.save().rip = 0x10'0000; // any other
    guest.control().event_inj = event(EventType::software_interrupt, 0x80);
    guest.run_to_end();
    expect_equal(guest.context().last.rip, rip, "RIP on the stack");
}
SVM_TEST(event_inject_gp_ignores_next_rip, "svm.event.inject_gp_ignores_next_rip",
         "An injected fault pushes RIP, whatever nRIP says", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    const auto rip = guest.save().rip;
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    guest.control().next_rip = 0x1234;
    guest.control().event_inj = event(EventType::exception, 13, 0);
    guest.run_to_end();
    expect_equal(guest.context().last.rip, rip, "RIP on the stack");
}

SVM_TEST(event_inject_db_keeps_dr6, "svm.event.inject_db_keeps_dr6",
         "An injected #DB leaves DR6 as VMRUN loaded it", "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().dr6 = 0xffff'0ff5;
    guest.context().hook = [](guest::ExceptionFrame&) {
        conform::l2_context().value[0] = read_dr6();
        return true;
    };
    guest.control().event_inj = event(EventType::exception, 1);
    guest.run_to_end();
    expect_equal(guest.context().value[0], 0xffff'0ff5U, "DR6 in the handler");
    expect_equal(guest.save().dr6, 0xffff'0ff5U, "DR6 in the VMCB");
}

} // namespace nestbed::svm
