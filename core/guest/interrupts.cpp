// Interrupts, NMIs and exceptions, after the stubs of vectors.S.
#include "core/guest/apic.hpp"
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"

namespace nestbed::guest {

namespace {

void count_wake(std::uint64_t) {
    ++this_vcpu().wakes;
}

void count_nmi() {
    ++this_vcpu().nmis;
}

void (*nmi_handler)() = &count_nmi;

ExceptionHandler exception_handlers[32];

} // namespace

// Indexed by vectors.S. Filled before the first AP runs.
extern "C" {
InterruptHandler interrupt_handlers[256];
}

void count_spurious_interrupt(std::uint64_t vector) {
    auto& mailbox = this_vcpu();
    ++mailbox.spurious_interrupts;
    mailbox.last_spurious_vector = vector;
}

void set_interrupt_handler(std::uint8_t vector, InterruptHandler handler) {
    store(interrupt_handlers[vector], handler);
}

void set_nmi_handler(void (*handler)()) {
    store(nmi_handler, handler != nullptr ? handler : &count_nmi);
}

void set_up_interrupt_handlers() {
    for (auto& handler : interrupt_handlers)
        handler = &count_spurious_interrupt;
    interrupt_handlers[wire::wake_vector] = &count_wake;
}

extern "C" void handle_nmi() {
    nmi_handler();
}

void set_exception_handler(std::uint8_t vector, ExceptionHandler handler) {
    store(exception_handlers[vector % 32], handler);
}

extern "C" void handle_exception(ExceptionFrame* frame) {
    if (const auto handler = load(exception_handlers[frame->vector % 32]);
        handler != nullptr && handler(*frame))
        return;
    if (land_in_guard(*frame))
        return;
    auto& report = this_vcpu().exception;
    if (load(report.state) == 0) { // the first one is the cause, a second only its consequence
        report.vector = frame->vector;
        report.error_code = frame->error_code;
        report.rip = frame->rip;
        report.cs = frame->cs;
        report.rflags = frame->rflags;
        report.rsp = frame->rsp;
        report.ss = frame->ss;
        report.cr0 = control_register<0>();
        report.cr2 = control_register<2>();
        report.cr3 = control_register<3>();
        report.cr4 = control_register<4>();
        report.rax = frame->rax;
        report.rbx = frame->rbx;
        report.rcx = frame->rcx;
        report.rdx = frame->rdx;
        report.rsi = frame->rsi;
        report.rdi = frame->rdi;
        report.rbp = frame->rbp;
        report.r8 = frame->r8;
        report.r9 = frame->r9;
        report.r10 = frame->r10;
        report.r11 = frame->r11;
        report.r12 = frame->r12;
        report.r13 = frame->r13;
        report.r14 = frame->r14;
        report.r15 = frame->r15;
        store(report.state, std::uint64_t{1});
    }
    ring_doorbell();
    halt_for_ever();
}

void apic::start() {
    // Spurious-interrupt vector register: software enable is bit 8 (SDM volume 3, 11.9).
    write(Register::spurious_vector, 0x100U | wire::spurious_vector);
}

} // namespace nestbed::guest
