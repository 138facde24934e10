// What a payload's jobs may use. A job is a function that every chosen vCPU runs once.
#pragma once

#include <cstdint>

#include "core/guest/cpu.hpp"
#include "core/guest/exception_frame.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/payload_info.hpp"

namespace nestbed::guest {

// The mailbox of the vCPU that asks. In ring 0 only.
inline wire::Mailbox& this_vcpu() {
    wire::Mailbox* mailbox = nullptr;
    asm("movq %%gs:0, %0" : "=r"(mailbox));
    return *mailbox;
}

// The machine's one header.
wire::Header& header();

// The mailbox of another vCPU; `vcpu` is below header().vcpus.
wire::Mailbox& mailbox_of(std::uint32_t vcpu);

// Argument `index` of the job at hand.
inline std::uint64_t job_argument(unsigned index) {
    return header().job.arguments[index];
}

template<typename T>
T* pointer_to(std::uint64_t guest_physical) {
    return reinterpret_cast<T*>(guest_physical); // ring 0 and ring 3 see memory identity-mapped
}

// Runs on the vCPU that is interrupted, with interrupts off; the runtime writes the EOI after it.
using InterruptHandler = void (*)(std::uint64_t vector);

// For all vCPUs. `vector` is wire::first_job_vector or above. Handlers stay until they are replaced; a job
// sets its own before any vCPU can send that vector.
void set_interrupt_handler(std::uint8_t vector, InterruptHandler handler);
// What happens to an interrupt that nobody expects: it is counted in the mailbox.
void count_spurious_interrupt(std::uint64_t vector);
void set_nmi_handler(void (*handler)());

// Looks at an exception before anybody else; true where it has dealt with it and the vCPU is to go on with
// what the frame now says. For all vCPUs; null takes it away.
using ExceptionHandler = bool (*)(ExceptionFrame& frame);
void set_exception_handler(std::uint8_t vector, ExceptionHandler handler);

// Halts until `condition` holds. Every interrupt wakes it to look again; whoever makes the condition true
// must therefore send one, unless it is an interrupt handler of this vCPU itself.
template<typename Condition>
void halt_until(Condition condition) {
    for (;;) {
        disable_interrupts();
        if (condition()) {
            enable_interrupts();
            return;
        }
        enable_interrupts_and_halt();
    }
}

// Runs `function` in ring 3 with interrupts on. It may touch memory but neither GS nor I/O nor MSRs.
void run_in_user_mode(void (*function)(void*), void* argument);

// Rings the host's doorbell: "look at the mailboxes".
void ring_doorbell();

// Text for the host's log, cut at wire::record_text_bytes.
void log(const char* text);

// Brings up all other vCPUs with one broadcast INIT-SIPI-SIPI and returns at once. Called once, by vCPU 0.
void start_other_vcpus();

} // namespace nestbed::guest

// Registers a job: NESTBED_JOB(identifier, "group.name", "What it shows", "manual, section") { body }
#define NESTBED_JOB(identifier, job_name, job_title, job_reference)                                          \
    static void identifier##_job();                                                                          \
    extern const ::nestbed::wire::JobDescriptor identifier##_descriptor;                                     \
    [[gnu::section(".nestbed.jobs"),                                                                         \
      gnu::used]] const ::nestbed::wire::JobDescriptor identifier##_descriptor{                              \
        job_name, job_title, job_reference, &identifier##_job, "", 0, 0};                                    \
    static void identifier##_job()
