// One L2 guest: VMCB, permission maps, registers and context, and how L1 runs it.
//
//     L2 guest;
//     std::uint64_t seen = 0;
//     auto code = [&] { seen = guest::rdmsr(msr::star); };
//     guest.start(code);
//     guest.run_to_end();
//     expect_equal(seen, 5, "STAR as L2 sees it");
#pragma once

#include <cstdint>

#include "nested/guest/check.hpp"
#include "nested/guest/l2_context.hpp"
#include "nested/svm/event.hpp"
#include "nested/svm/exit_code.hpp"
#include "nested/svm/intercept.hpp"
#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {

// Those that VMRUN does not switch; the order is that of enter.S.
struct GeneralRegisters {
    std::uint64_t rbx, rcx, rdx, rsi, rdi, rbp;
    std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
};

extern "C" void svm_enter(std::uint64_t vmcb, GeneralRegisters* registers, std::uint64_t host_state);
extern "C" void svm_enter_lean(std::uint64_t vmcb, GeneralRegisters* registers);

inline constexpr std::uint64_t iopm_bytes = 3 * 4096;  // APM volume 2, 15.10.1
inline constexpr std::uint64_t msrpm_bytes = 2 * 4096; // 15.11

class L2 {
public:
    // In 64-bit mode with L1's page tables, nested paging off, ASID 1, interrupts disabled. It intercepts
    // INTR, SHUTDOWN, VMRUN and VMMCALL; the permission maps are all zero. Memory comes from
    // conform::allocate().
    L2();
    L2(const L2&) = delete;
    L2& operator=(const L2&) = delete;

    [[nodiscard]] Vmcb& vmcb() { return *_vmcb; }
    [[nodiscard]] ControlArea& control() { return _vmcb->control; }
    [[nodiscard]] SaveArea& save() { return _vmcb->save; }
    [[nodiscard]] conform::L2Context& context() { return *_context; }
    [[nodiscard]] std::uint8_t* iopm() { return _iopm; }
    [[nodiscard]] std::uint8_t* msrpm() { return _msrpm; }
    [[nodiscard]] std::uint64_t vmcb_pa() const;

    void intercept(Intercept which, bool on = true) { set_intercept(control(), which, on); }
    void intercept_exception(std::uint8_t vector, bool on = true) {
        const auto bit = 1U << vector;
        control().intercept_exceptions =
            on ? control().intercept_exceptions | bit : control().intercept_exceptions & ~bit;
    }

    // Uses another VMCB page from here on (its content is copied); the one before stays as it is.
    void move_vmcb(Vmcb& to);

    // At its next entry L2 begins with `body`, which outlives its run. Reaching its end leaves by VMMCALL
    // with RAX = l2_done.
    template<typename Body>
    void start(Body& body) {
        start_at([](void* argument) { (*static_cast<Body*>(argument))(); }, &body);
    }
    void start_at(void (*function)(void*), void* argument);

    // Enters L2 once, with GIF 0 from before VMLOAD to after the last VMLOAD, and returns the exit code. An
    // exception in L2 that nobody expected fails the test. On the way the report gets the VMCB as written and
    // as it is afterwards.
    ExitCode run();

    // The same without report and without check: for loops that are timed.
    ExitCode enter();

    // enter() without VMLOAD and VMSAVE, each of which is an exit to L0: L2 runs with L1's FS, GS, TR, LDTR
    // and MSRs of system calls. Its handlers would take L1's block for theirs, so it gets none: an event in
    // L2 is a SHUTDOWN exit.
    ExitCode enter_lean();

    // run(), and expects this exit code. Returns whether it came.
    bool run_to(ExitCode expected, const char* what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE());
    bool run_to(ExitCode expected, const conform::Text& what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
        return run_to(expected, what.c_str(), file, line);
    }
    // run(), and expects that the code of start() comes to its end.
    bool run_to_end(const char* what = "L2's code runs to its end", const char* file = __builtin_FILE(),
                    std::uint32_t line = __builtin_LINE());
    [[nodiscard]] bool at_end() const;
    // Over the instruction that was intercepted.
    void skip(std::uint64_t bytes) { save().rip += bytes; }

    GeneralRegisters registers{};

private:
    Vmcb* _vmcb;
    conform::L2Context* _context;
    std::uint8_t* _iopm;
    std::uint8_t* _msrpm;
};

// What VMRUN of this VMCB comes to without any state switched around it: for consistency checks, where L2
// never runs. GIF is 0 for the VMRUN and read afterwards, see gif_is_set().
ExitCode vmrun_refused(L2& guest);

// Whether interrupts get through with IF=1: GIF itself cannot be read. Sends this vCPU an interrupt and says
// whether it came at once; where not, sets GIF so that it comes then.
bool gif_is_set();

} // namespace nestbed::svm
