// One L2 guest: VMCS, bitmaps, registers and context, and how L1 runs it.
//
//     L2 guest;
//     std::uint64_t seen = 0;
//     auto code = [&] { seen = guest::rdmsr(msr::star); };
//     guest.start(code);
//     guest.run_to_end();
#pragma once

#include <cstdint>

#include "nested/guest/check.hpp"
#include "nested/guest/l2_context.hpp"
#include "nested/vmx/event.hpp"
#include "nested/vmx/exit_reason.hpp"
#include "nested/vmx/guest/instructions.hpp"
#include "nested/vmx/guest/vmcs.hpp"
#include "nested/vmx/instruction_error.hpp"

namespace nestbed::vmx {

// Those that VMX does not switch; the order is that of enter.S.
struct GeneralRegisters {
    std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
    std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    std::uint64_t host_rsp; // of the last entry, 0 before the first
};

extern "C" std::uint64_t vmx_enter(GeneralRegisters* registers, std::uint64_t launched);
extern "C" const char vmx_exit_return[];

// What became of a VM entry (SDM volume 3, "VM Entries").
struct Entry {
    Outcome outcome = Outcome::succeed; // of VMLAUNCH or VMRESUME; succeed: an exit has come, see `reason`
    std::uint32_t error = 0;            // VM-instruction error, after fail_valid
    std::uint32_t reason = 0;           // the exit-reason field, all of it

    [[nodiscard]] ExitReason basic() const { return decode_exit_reason(reason).basic; }
    [[nodiscard]] bool exited() const { return outcome == Outcome::succeed && reason >> 31 == 0; }
};

// The host-state area of the current VMCS becomes this vCPU's, all but RSP, which each entry writes.
void write_host_state();

class L2 {
public:
    // In 64-bit mode with L1's page tables, without EPT and VPID, interrupts disabled. External interrupts
    // exit; the I/O and MSR bitmaps are used where they may be, all zero. Its VMCS is clear and current.
    // Memory comes from conform::allocate().
    L2();
    L2(const L2&) = delete;
    L2& operator=(const L2&) = delete;

    [[nodiscard]] conform::L2Context& context() { return *_context; }
    [[nodiscard]] std::uint8_t* io_bitmaps() { return _io_bitmaps; } // A and B
    [[nodiscard]] std::uint8_t* msr_bitmap() { return _msr_bitmap; }
    [[nodiscard]] std::uint64_t vmcs_pa() const;

    // Reads and writes below are of the current VMCS, which is this one unless the test loaded another.
    void load() { conform::expect_equal(vmptrld(vmcs_pa()), Outcome::succeed, "VMPTRLD"); }
    // The next entry is by VMLAUNCH.
    void clear() {
        conform::expect_equal(vmclear(vmcs_pa()), Outcome::succeed, "VMCLEAR");
        _launched = false;
        registers.host_rsp = 0;
        load();
    }

    // Between two vCPUs (SDM volume 3, "Software Use of Virtual-Machine Control Structures"): leave() on the
    // one that had it last, arrive() on the one that has it next, where it is current then.
    void leave();
    void arrive();

    void intercept_exception(std::uint8_t vector, bool on = true) {
        (on ? vmx::set : vmx::clear)(Field::exception_bitmap, 1U << vector);
    }

    // At its next entry L2 begins with `body`, which outlives its run. Reaching its end leaves by VMCALL with
    // RAX = l2_done.
    template<typename Body>
    void start(Body& body) {
        start_at([](void* argument) { (*static_cast<Body*>(argument))(); }, &body);
    }
    void start_at(void (*function)(void*), void* argument);

    // Enters L2 once, interrupts off from before the entry to after the exit. An exception in L2 that nobody
    // expected fails the test, and so does an entry that fails, unless the test says that it may.
    ExitReason run();
    Entry try_run();

    // The same without report and without check: for loops that are timed.
    Entry enter();

    bool run_to(ExitReason expected, const char* what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE());
    bool run_to(ExitReason expected, const conform::Text& what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
        return run_to(expected, what.c_str(), file, line);
    }
    bool run_to_end(const char* what = "L2's code runs to its end", const char* file = __builtin_FILE(),
                    std::uint32_t line = __builtin_LINE());
    [[nodiscard]] bool at_end() const { return registers.rax == conform::l2_done; }
    // Over the instruction that exited.
    void skip() { write(Field::guest_rip, read(Field::guest_rip) + read(Field::exit_instruction_length)); }

    GeneralRegisters registers{};

private:
    void* _vmcs;
    conform::L2Context* _context;
    std::uint8_t* _io_bitmaps;
    std::uint8_t* _msr_bitmap;
    bool _launched = false;
};

} // namespace nestbed::vmx
