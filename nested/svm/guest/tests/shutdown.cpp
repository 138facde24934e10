// Triple faults in L2: the SHUTDOWN intercept, and what is left of the machine without it (APM volume 2,
// 15.14.3). After an intercepted shutdown the VMCB's save area is undefined: only the exit is judged.
#include "core/guest/guard.hpp"
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

L2_CODE(l2_ud_64, 64, "ud2");
L2_CODE(l2_ud_32, 32, "ud2");
L2_CODE(l2_ud_16, 16, "ud2");
L2_CODE(l2_int_16, 16, "int $0x20");
L2_CODE(l2_int3_64, 64, "int3");
L2_CODE(l2_gp_64, 64, "movabsq $0x8000000000000000, %rax; movb (%rax), %al");
L2_CODE(l2_bad_msr_64, 64, "movl $0x12345678, %ecx; rdmsr");
L2_CODE(l2_shutdown_nops, 64, "nop; vmmcall");

enum class Mode { long_mode, compatibility, pae, legacy_paging, protected_mode, real };

std::uint64_t blob_stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
}

void set_mode(L2& guest, Mode mode, const char* code) {
    auto& save = guest.save();
    switch (mode) {
    case Mode::long_mode:
        start_blob(guest, code);
        save.idtr.limit = 0;
        return;
    case Mode::compatibility:
        set_compatibility_mode(save, address_of(code), blob_stack());
        break;
    case Mode::pae:
        set_pae_mode(save, address_of(code), blob_stack());
        break;
    case Mode::legacy_paging:
        set_legacy_paging_mode(save, address_of(code), blob_stack());
        break;
    case Mode::protected_mode:
        set_protected_mode(save, address_of(code), blob_stack());
        break;
    case Mode::real:
        set_real_mode(save, address_of(code), blob_stack() - 4096);
        break;
    }
    save.idtr.limit = 0;
}

void expect_next_guest_runs() {
    L2 next;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    next.start(code);
    next.run_to_end("another L2 runs after the shutdown");
    expect_equal(seen, 1U, "what the other L2 wrote");
    expect_equal(next.control().exit_int_info & event_valid, 0U, "the other L2's EXITINTINFO.V");
}

template<Mode mode, bool paging>
void intercepted(const char* code) {
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    set_mode(guest, mode, code);
    guest.run_to(ExitCode::shutdown, "a triple fault");
    expect_next_guest_runs();
}

#define SHUTDOWN_MODE(name, mode, code, text)                                                                \
    void shutdown_in_##name() {                                                                              \
        intercepted<Mode::mode, false>(code);                                                                \
    }                                                                                                        \
    void shutdown_in_##name##_npt() {                                                                        \
        intercepted<Mode::mode, true>(code);                                                                 \
    }                                                                                                        \
    SVM_CASE(shutdown_##name, "svm.shutdown." #name, "A triple fault in " text " is a SHUTDOWN exit",        \
             "15.14.3", &shutdown_in_##name)                                                                 \
    SVM_CASE(shutdown_##name##_npt, "svm.shutdown." #name "_npt",                                            \
             "A triple fault in " text " with nested paging is a SHUTDOWN exit", "15.14.3",                  \
             &shutdown_in_##name##_npt, .needs = "npt")

SHUTDOWN_MODE(long_mode, long_mode, l2_ud_64, "64-bit mode")
SHUTDOWN_MODE(compatibility, compatibility, l2_ud_32, "compatibility mode")
SHUTDOWN_MODE(pae, pae, l2_ud_32, "protected mode with PAE")
SHUTDOWN_MODE(legacy_paging, legacy_paging, l2_ud_32, "protected mode with two-level paging")
SHUTDOWN_MODE(protected_mode, protected_mode, l2_ud_32, "protected mode without paging")
SHUTDOWN_MODE(real_mode, real, l2_ud_16, "real mode")
SHUTDOWN_MODE(real_mode_int, real, l2_int_16, "real mode by INT")
SHUTDOWN_MODE(long_mode_int3, long_mode, l2_int3_64, "64-bit mode by INT3")
SHUTDOWN_MODE(long_mode_gp, long_mode, l2_gp_64, "64-bit mode by #GP")
SHUTDOWN_MODE(long_mode_l0_gp, long_mode, l2_bad_msr_64, "64-bit mode by a #GP that L0 raises")

} // namespace

// An event that cannot be delivered, nor what comes of it.
namespace {
template<std::uint64_t value, bool paging>
void injected() {
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    start_blob(guest, l2_shutdown_nops);
    guest.save().idtr.limit = 0;
    guest.control().event_inj = value;
    guest.run_to(ExitCode::shutdown, "the event's triple fault");
    expect_next_guest_runs();
}
constexpr auto inject_gp = event(EventType::exception, 13, 0);
constexpr auto inject_df = event(EventType::exception, 8, 0);
constexpr auto inject_ud = event(EventType::exception, 6);
constexpr auto inject_interrupt = event(EventType::interrupt, 0x40);
constexpr auto inject_nmi = event(EventType::nmi, 2);
} // namespace
#define SHUTDOWN_INJECT(name, text)                                                                          \
    SVM_CASE(shutdown_inject_##name, "svm.shutdown.inject_" #name,                                           \
             "An injected " text " without an IDT is a SHUTDOWN exit", "15.14.3",                            \
             (&injected<inject_##name, false>))                                                              \
    SVM_CASE(shutdown_inject_##name##_npt, "svm.shutdown.inject_" #name "_npt",                              \
             "An injected " text " without an IDT, with nested paging, is a SHUTDOWN exit", "15.14.3",       \
             (&injected<inject_##name, true>), .needs = "npt")
SHUTDOWN_INJECT(gp, "#GP")
SHUTDOWN_INJECT(df, "#DF")
SHUTDOWN_INJECT(ud, "#UD")
SHUTDOWN_INJECT(interrupt, "interrupt")
SHUTDOWN_INJECT(nmi, "NMI")

SVM_TEST(shutdown_no_stack, "svm.shutdown.no_stack",
         "An exception in L2 without a stack to push on is a SHUTDOWN exit", "15.14.3") {
    L2 guest;
    start_blob(guest, l2_ud_64);
    guest.save().rsp = 0x7000'0000'0800;
    guest.run_to(ExitCode::shutdown, "a triple fault");
    expect_next_guest_runs();
}
SVM_TEST(shutdown_df_first, "svm.shutdown.df_intercepted_first",
         "With #DF intercepted, what would end in a triple fault leaves by #DF", "15.12.9") {
    L2 guest;
    start_blob(guest, l2_gp_64);
    guest.save().idtr.limit = 0;
    guest.intercept_exception(8);
    guest.run_to(exception_exit(8), "#DF");
}
SVM_TEST(shutdown_gp_first, "svm.shutdown.gp_intercepted_first",
         "With #GP intercepted, the #GP of the missing gate leaves, with the #UD in EXITINTINFO", "15.7.2") {
    L2 guest;
    start_blob(guest, l2_ud_64);
    guest.save().idtr.limit = 0;
    guest.intercept_exception(13);
    guest.run_to(exception_exit(13), "#GP");
    expect_equal(guest.control().exit_int_info, event(EventType::exception, 6), "EXITINTINFO");
    expect_equal(guest.save().rip, address_of(l2_ud_64), "RIP");
}
SVM_TEST(shutdown_gp_error, "svm.shutdown.gp_error_code",
         "The error code of the #GP of a gate beyond the IDT's limit is the gate's number with the IDT bit",
         "8.4.1") {
    L2 guest;
    start_blob(guest, l2_ud_64);
    guest.save().idtr.limit = 0;
    guest.intercept_exception(13);
    guest.run_to(exception_exit(13), "#GP");
    expect_equal(guest.control().exit_info_1 & ~std::uint64_t{1}, 6U * 8 + 2, "EXITINFO1, but for EXT");
}
SVM_TEST(shutdown_100, "svm.shutdown.hundred_times", "A hundred triple faults are a hundred SHUTDOWN exits",
         "15.14.3") {
    L2 guest;
    start_blob(guest, l2_ud_64);
    guest.save().idtr.limit = 0;
    const auto save = guest.save();
    for (int i = 0; i < 100; ++i) {
        guest.save() = save; // undefined after each of them
        if (!guest.run_to(ExitCode::shutdown, conform::Text{"triple fault ", i}))
            return;
    }
    expect_next_guest_runs();
}
SVM_TEST(shutdown_l1_intact, "svm.shutdown.l1_intact", "A SHUTDOWN exit brings all of L1's state back",
         "15.6") {
    L2 guest;
    start_blob(guest, l2_ud_64);
    guest.save().idtr.limit = 0;
    const auto cr0 = guest::control_register<0>();
    const auto cr3 = guest::control_register<3>();
    const auto cr4 = guest::control_register<4>();
    const auto efer = guest::rdmsr(0xc000'0080);
    guest.run_to(ExitCode::shutdown, "a triple fault");
    expect_equal(guest::control_register<0>(), cr0, "CR0");
    expect_equal(guest::control_register<3>(), cr3, "CR3");
    expect_equal(guest::control_register<4>(), cr4, "CR4");
    expect_equal(guest::rdmsr(0xc000'0080), efer, "EFER");
    count_interrupts(0x40);
    interrupt_self(0x40);
    settle();
    expect_equal(interrupts_taken(0x40), 1U, "interrupts that L1 has seen");
    const auto fault = guest::catch_fault([] { asm volatile("ud2"); });
    expect(fault.is(6), "L1's own #UD reaches L1's handler");
}

// Not intercepted: the vCPU shuts down.
namespace {
template<Mode mode, bool paging>
void fatal(const char* code) {
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    set_mode(guest, mode, code);
    guest.intercept(Intercept::shutdown, false);
    conform::announce();
    guest.run();
    expect(false, "L1 goes on after a shutdown that it does not intercept");
}
void fatal_long_mode() {
    fatal<Mode::long_mode, false>(l2_ud_64);
}
void fatal_npt() {
    fatal<Mode::long_mode, true>(l2_ud_64);
}
void fatal_real_mode() {
    fatal<Mode::real, false>(l2_ud_16);
}
void fatal_protected_mode() {
    fatal<Mode::protected_mode, false>(l2_ud_32);
}
void fatal_l0_gp() {
    fatal<Mode::long_mode, false>(l2_bad_msr_64);
}
} // namespace
SVM_CASE(shutdown_fatal, "svm.shutdown.not_intercepted",
         "A triple fault in L2 without the intercept ends the vCPU", "15.14.3", &fatal_long_mode,
         .ending = nested::wire::Ending::shutdown)
SVM_CASE(shutdown_fatal_npt, "svm.shutdown.not_intercepted_npt", "The same with nested paging", "15.14.3",
         &fatal_npt, .needs = "npt", .ending = nested::wire::Ending::shutdown)
SVM_CASE(shutdown_fatal_real, "svm.shutdown.not_intercepted_real_mode", "The same in real mode", "15.14.3",
         &fatal_real_mode, .ending = nested::wire::Ending::shutdown)
SVM_CASE(shutdown_fatal_protected, "svm.shutdown.not_intercepted_protected_mode",
         "The same in protected mode", "15.14.3", &fatal_protected_mode,
         .ending = nested::wire::Ending::shutdown)
SVM_CASE(shutdown_fatal_l0_gp, "svm.shutdown.not_intercepted_l0_gp", "The same by a #GP that L0 raises",
         "15.14.3", &fatal_l0_gp, .ending = nested::wire::Ending::shutdown)
SVM_TEST(shutdown_fatal_inject, "svm.shutdown.not_intercepted_inject", "The same by an injected #DF",
         "15.14.3", .ending = nested::wire::Ending::shutdown) {
    L2 guest;
    start_blob(guest, l2_shutdown_nops);
    guest.save().idtr.limit = 0;
    guest.control().event_inj = event(EventType::exception, 8, 0);
    guest.intercept(Intercept::shutdown, false);
    conform::announce();
    guest.run();
    expect(false, "L1 goes on after a shutdown that it does not intercept");
}
// L1's own, once L2 has run: it is not L2's to be intercepted.
SVM_TEST(shutdown_of_l1, "svm.shutdown.of_l1",
         "A triple fault of L1's own ends the vCPU, although L1 intercepts L2's", "15.14.3",
         .ending = nested::wire::Ending::shutdown) {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.run_to_end();
    conform::announce();
    const struct [[gnu::packed]] {
        std::uint16_t limit;
        std::uint64_t base;
    } none{};
    asm volatile("lidt %0; ud2" : : "m"(none));
}

} // namespace nestbed::svm
