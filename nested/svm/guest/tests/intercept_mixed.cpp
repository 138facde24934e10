// Intercepts that meet: several at once, INT n beside exceptions, exceptions while another is delivered,
// PAUSE in loops, and guests of several vCPUs at a time.
#include "core/guest/runtime.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

L2_SNIPPET(mixed_int_6, 64, "int $6");
L2_SNIPPET(mixed_int_0, 64, "int $0");
L2_SNIPPET(mixed_divide, 64, "divl %ecx");
L2_SNIPPET(mixed_pauses, 64, "1: pause; decl %ecx; jnz 1b");

// 15.12: the intercepts of vectors 0 to 31 are for exceptions, not for INT n of the same number.
template<const Snippet& code, std::uint8_t vector>
void int_n_is_no_exception() {
    L2 guest;
    place(guest, code, Mode::long64);
    guest.intercept_exception(vector);
    guest.context().resume |= 1U << vector;
    run_past(guest, code, Mode::long64, "INT n");
    expect_equal(guest.context().exceptions[vector], 1U, "times that L2's handler ran");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(code.after),
                 "RIP in the frame: after INT n");
}

} // namespace

SVM_CASE(mixed_int_6_case, "svm.intercept.int_6_is_no_ud", "INT 6 is not what the #UD intercept is about",
         "15.12", (&int_n_is_no_exception<mixed_int_6, 6>));
SVM_CASE(mixed_int_0_case, "svm.intercept.int_0_is_no_de", "INT 0 is not what the #DE intercept is about",
         "15.12", (&int_n_is_no_exception<mixed_int_0, 0>));

// 15.7.2: the event whose delivery was cut short is in EXITINTINFO.
SVM_TEST(mixed_gp_in_delivery, "svm.intercept.gp_during_delivery",
         "a #GP in the delivery of L2's #DE leaves L2 with the #DE in EXITINTINFO", "15.7.2") {
    L2 guest;
    place(guest, mixed_divide, Mode::long64);
    guest.registers.rcx = 0;
    *reinterpret_cast<std::uint16_t*>(guest.context().idt + 2) =
        0x1238; // the gate's selector: past the table
    if (run_to_exception(guest, mixed_divide, Mode::long64, 13, 0x1238, "#GP in delivery"))
        expect_equal(guest.control().exit_int_info, event(EventType::exception, 0), "EXITINTINFO: #DE");
}
SVM_TEST(mixed_np_in_delivery, "svm.intercept.np_during_delivery",
         "a #NP in the delivery of L2's INT n leaves L2 with the INT n in EXITINTINFO", "15.7.2") {
    L2 guest;
    place(guest, mixed_int_6, Mode::long64);
    guest.context().idt[16 * 6 + 5] = 0x6e; // not present
    if (run_to_exception(guest, mixed_int_6, Mode::long64, 11, 6 * 8 + 2, "#NP in delivery"))
        expect_equal(guest.control().exit_int_info, event(EventType::software_interrupt, 6),
                     "EXITINTINFO: INT 6");
}
// The first exception is intercepted: it is not delivered, so nothing goes wrong with its delivery.
SVM_TEST(mixed_first_wins, "svm.intercept.first_exception_exits",
         "an intercepted #DE leaves L2 though its gate is bad", "15.12") {
    L2 guest;
    place(guest, mixed_divide, Mode::long64);
    guest.registers.rcx = 0;
    *reinterpret_cast<std::uint16_t*>(guest.context().idt + 2) = 0x1238;
    guest.intercept_exception(8);
    guest.intercept_exception(13);
    if (run_to_exception(guest, mixed_divide, Mode::long64, 0, 0, "#DE"))
        expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
}

SVM_TEST(mixed_pause_loop, "svm.intercept.pause_loop_stays",
         "a loop of PAUSE that L1 does not intercept comes to its end", "15.14.4") {
    L2 guest;
    place(guest, mixed_pauses, Mode::long64);
    guest.registers.rcx = 100'000;
    run_past(guest, mixed_pauses, Mode::long64, "PAUSE");
    expect_equal(guest.registers.rcx, 0U, "PAUSEs left");
}
SVM_TEST(mixed_pause_filter, "svm.intercept.pause_filter",
         "with a PAUSE filter L2 leaves after that many PAUSEs", "15.14.4", .needs = "pausefilter") {
    L2 guest;
    place(guest, mixed_pauses, Mode::long64);
    constexpr std::uint32_t loops = 1'000'000;
    constexpr std::uint32_t filter = 100;
    guest.registers.rcx = loops;
    guest.intercept(Intercept::pause);
    guest.control().pause_filter_count = filter;
    guest.run_to(ExitCode::pause, "a loop of PAUSE");
    expect(loops - guest.registers.rcx >= filter,
           Text{"PAUSEs before the exit: ", loops - guest.registers.rcx});
}

L2_SNIPPET(mixed_cpuid, 64, "cpuid; rdtsc; pause; pushf; movq %cr3, %rax; movq %rax, %db0");
// Everything at once: the exit is that of the instruction at hand.
SVM_TEST(mixed_all, "svm.intercept.all_at_once", "with every bit set each instruction leaves by its own exit",
         "15.9") {
    static constexpr struct {
        ExitCode code;
        unsigned bytes;
    } exits[] = {{ExitCode::cpuid, 2}, {ExitCode::rdtsc, 2},  {ExitCode::pause, 2},  {ExitCode::pushf, 1},
                 {read_cr_exit(3), 3}, {write_dr_exit(0), 3}, {ExitCode::vmmcall, 3}};
    L2 guest;
    place(guest, mixed_cpuid, Mode::long64);
    guest.control().intercept_cr = guest.control().intercept_dr = ~0U;
    guest.control().intercept_exceptions = ~0U;
    for (auto i = static_cast<unsigned>(Intercept::cr0_sel_write);
         i <= static_cast<unsigned>(Intercept::xsetbv); ++i)
        guest.intercept(static_cast<Intercept>(i));
    auto rip = guest.save().rip;
    for (const auto& exit : exits) {
        guest.run_to(exit.code, Text{"instruction at ", conform::Hex{rip}});
        expect_equal(guest.save().rip, rip, "RIP");
        rip += exit.bytes;
        guest.skip(exit.bytes);
    }
}

// Guests of two vCPUs at the same time, one with the intercept, the other without.
namespace {
template<typename Prepare>
void on_two_vcpus(const Snippet& code, ExitCode exit, Prepare prepare) {
    static conform::Barrier barrier;
    L2 guest;
    const bool intercepted = guest::this_vcpu().vcpu == 0;
    barrier.wait();
    for (unsigned round = 0; round < 200; ++round) {
        place(guest, code, Mode::long64);
        prepare(guest, intercepted);
        if (!guest.run_to(intercepted ? exit : ExitCode::vmmcall, Text{"round ", round}))
            return;
    }
}
L2_SNIPPET(mixed_cpuid_alone, 64, "cpuid");
L2_SNIPPET(mixed_rdmsr, 64, "rdmsr");
L2_SNIPPET(mixed_in, 64, "inb %dx, %al");
} // namespace
SVM_TEST(mixed_two_cpuid, "svm.intercept.two_vcpus", "intercepts of one vCPU's guest are none of another's",
         "15.9", .vcpus = 2) {
    on_two_vcpus(mixed_cpuid_alone, ExitCode::cpuid,
                 [](L2& guest, bool intercepted) { guest.intercept(Intercept::cpuid, intercepted); });
}
SVM_TEST(mixed_two_msr, "svm.msr.two_vcpus", "the MSR map of one vCPU's guest is none of another's", "15.11",
         .vcpus = 2) {
    on_two_vcpus(mixed_rdmsr, ExitCode::msr, [](L2& guest, bool intercepted) {
        guest.registers.rcx = msr::star;
        guest.intercept(Intercept::msr_prot);
        guest.msrpm()[0x800 + 0x81 / 4] = intercepted ? 3U << 2 : 0;
    });
}
SVM_TEST(mixed_two_io, "svm.io.two_vcpus", "the I/O map of one vCPU's guest is none of another's", "15.10",
         .vcpus = 2) {
    on_two_vcpus(mixed_in, ExitCode::ioio, [](L2& guest, bool intercepted) {
        guest.registers.rdx = nestbed::wire::exit_port;
        guest.intercept(Intercept::ioio_prot);
        guest.iopm()[nestbed::wire::exit_port / 8] = intercepted ? 1U << nestbed::wire::exit_port % 8 : 0;
    });
}

} // namespace nestbed::svm
