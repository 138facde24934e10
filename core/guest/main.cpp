// The life of a vCPU: come up, then run jobs until the host takes the machine away.
#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"

namespace nestbed::guest {

void set_up_interrupt_handlers();

namespace {

extern "C" const wire::JobDescriptor job_table[];
extern "C" const wire::JobDescriptor job_table_end[];
extern "C" const char vector_stubs[];
extern "C" void entry64();

[[gnu::section(".nestbed.info"), gnu::used]] const wire::PayloadInfo payload_info{
    .magic = wire::payload_magic,
    .version = wire::version,
    .vector_stub_stride = 16,
    .vector_stubs = reinterpret_cast<std::uint64_t>(vector_stubs),
    .entry64 = reinterpret_cast<std::uint64_t>(&entry64)};

void run_job(wire::Mailbox& mailbox, const wire::Job& job, std::uint64_t sequence) {
    mailbox.job_status = static_cast<std::uint64_t>(wire::JobStatus::failed);
    if (job.index < static_cast<std::uint64_t>(job_table_end - job_table)) {
        mailbox.job_status = static_cast<std::uint64_t>(wire::JobStatus::done);
        job_table[job.index].run();
    }
    store(mailbox.jobs_done, sequence);
    if (add(header().pending, ~std::uint64_t{0}) == 1)
        ring_doorbell();
}

} // namespace

// Called by entry.S on the vCPU's own stack, interrupts off.
extern "C" [[noreturn]] void cpu_main(wire::Mailbox* mailbox, std::uint32_t seen_apic_id) {
    mailbox->tsc_online = rdtsc();
    mailbox->seen_apic_id = seen_apic_id;
    apic::start();
    auto& shared = header();
    if (mailbox->vcpu == 0) {
        set_up_interrupt_handlers();
        start_other_vcpus();
    }
    if (add(shared.online, std::uint64_t{1}) + 1 == shared.vcpus)
        ring_doorbell();

    std::uint64_t done = 0;
    for (;;) {
        halt_until([&] { return load(mailbox->job) != done; });
        done = load(mailbox->job);
        run_job(*mailbox, shared.job, done);
    }
}

} // namespace nestbed::guest
