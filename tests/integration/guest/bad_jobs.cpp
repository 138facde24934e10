// Jobs that do what no guest should. Each says how the machine must find out.
#include "core/guest/runtime.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::guest {

namespace {

void fill(std::uint64_t address, std::uint64_t bytes, std::uint64_t pattern) {
    auto* const words = pointer_to<volatile std::uint64_t>(address);
    for (std::uint64_t i = 0; i < bytes / 8; ++i)
        words[i] = pattern;
}

} // namespace

NESTBED_JOB(good, "good.answer", "Leaves a value and a line of text: the machine is well", "") {
    auto& mailbox = this_vcpu();
    mailbox.job_value[0] = 100 + mailbox.vcpu + job_argument(0);
    if (mailbox.vcpu == 0)
        log("well");
}

NESTBED_JOB(failing, "bad.status", "Says that it could not run", "") {
    auto& mailbox = this_vcpu();
    if (mailbox.vcpu == job_argument(0)) {
        mailbox.job_status = static_cast<std::uint64_t>(wire::JobStatus::failed);
        mailbox.job_value[0] = 0x77;
    }
}

NESTBED_JOB(triple_fault, "bad.triple_fault", "Has no interrupt table when an exception comes",
            "SDM volume 3, 6.15") {
    struct [[gnu::packed]] {
        std::uint16_t limit = 0;
        std::uint64_t base = 0;
    } table;
    asm volatile("lidt %0; ud2" : : "m"(table) : "memory");
}

NESTBED_JOB(exception, "bad.exception", "Executes an undefined instruction", "SDM volume 3, 6.15") {
    asm volatile("movl $0x5eed, %%eax; ud2" : : : "rax", "memory");
}

NESTBED_JOB(page_fault, "bad.page_fault", "Writes where nothing is mapped", "SDM volume 3, 6.15") {
    *pointer_to<volatile std::uint64_t>(std::uint64_t{1} << 46) = 1;
}

NESTBED_JOB(hang, "bad.hang", "Spins with interrupts off", "") {
    disable_interrupts();
    for (;;)
        pause();
}

NESTBED_JOB(halt, "bad.halt", "Halts with interrupts off", "") {
    halt_for_ever();
}

// Arguments: [0] the pattern. Everything that the host reads is overwritten, and the doorbell rung.
NESTBED_JOB(garbage, "bad.mailbox", "Overwrites mailbox, header and ring with garbage", "") {
    const auto pattern = job_argument(0);
    auto& shared = header();
    const auto ring = shared.ring;
    const auto block = this_vcpu().self;
    disable_interrupts();
    // The records first, as if they were complete: the host reads tickets in order.
    auto& records = *pointer_to<wire::Ring>(ring);
    for (std::uint32_t i = 0; i < wire::ring_slots; ++i) {
        fill(reinterpret_cast<std::uint64_t>(&records.slots[i]), sizeof(wire::Record), pattern);
        store(records.slots[i].ready, std::uint64_t{i} + 1);
    }
    store(records.head, pattern);
    store(records.tail, pattern);
    fill(reinterpret_cast<std::uint64_t>(&shared), sizeof(wire::Header), pattern);
    fill(block, sizeof(wire::Mailbox), pattern);
    ring_doorbell();
    halt_for_ever();
}

// Arguments: [0] the pattern. Only the ring: the job ends well.
NESTBED_JOB(garbage_ring, "bad.ring", "Fills the ring with garbage and goes on", "") {
    auto& records = *pointer_to<wire::Ring>(header().ring);
    for (std::uint32_t i = 0; i < wire::ring_slots; ++i) {
        auto& record = records.slots[i];
        fill(reinterpret_cast<std::uint64_t>(&record), sizeof record, job_argument(0));
        store(record.ready, std::uint64_t{i} + 1);
    }
    ring_doorbell();
}

NESTBED_JOB(false_done, "bad.early", "Claims sequence numbers that nobody gave out", "") {
    auto& mailbox = this_vcpu();
    store(mailbox.jobs_done, ~std::uint64_t{0});
    store(header().pending, ~std::uint64_t{0});
    store(header().online, ~std::uint64_t{0});
    ring_doorbell();
    disable_interrupts();
    for (;;)
        pause();
}

} // namespace nestbed::guest
