#include <initializer_list>

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::unicast;

// Set before the first interrupt of the job can be sent, the same by every vCPU.
std::uint32_t* slot_table = nullptr;
std::uint32_t* waiter_table = nullptr;
std::uint8_t* received_table = nullptr;
std::uint32_t vcpu_count = 0;

void take(std::uint32_t vector_index) {
    auto& mailbox = this_vcpu();
    auto& slot = slot_table[mailbox.vcpu * vectors + vector_index];
    const auto sender = load(slot);
    if (sender == 0 || sender > vcpu_count) {
        ++mailbox.job_value[unclaimed];
        count_spurious_interrupt(first_vector + vector_index);
        return;
    }
    auto& count = received_table[std::uint64_t{mailbox.vcpu} * vcpu_count + sender - 1];
    if (count != 0xff)
        ++count;
    store(mailbox.job_value[received_count], mailbox.job_value[received_count] + 1);
    exchange(slot, std::uint32_t{0});
    if (load(waiter_table[mailbox.vcpu]) == 0)
        return;
    if (const auto waiter = exchange(waiter_table[mailbox.vcpu], std::uint32_t{0});
        waiter != 0 && waiter <= vcpu_count)
        apic::send(mailbox_of(waiter - 1).apic_id, nestbed::wire::wake_vector);
}

void take_interrupt(std::uint64_t vector) {
    take(static_cast<std::uint32_t>(vector - first_vector));
}

void take_nmi() {
    take(0);
    // An NMI may come between the look at the condition and the HLT; this interrupt does not.
    apic::write(apic::Register::interrupt_command,
                apic::command(0, apic::Shorthand::self, apic::Delivery::fixed, nestbed::wire::wake_vector));
}

// Slots of a receiver that one sender uses: NMIs have no vector, so there is one; otherwise two, which
// spreads the senders and keeps the search short.
struct Lane {
    std::uint32_t first;
    std::uint32_t second;
};

Lane lane_of(std::uint32_t sender, std::uint64_t how) {
    return how == nmi ? Lane{0, 0} : Lane{sender % vectors, (sender + vectors / 2) % vectors};
}

bool is_free(std::uint32_t target, Lane lane) {
    return load(slot_table[target * vectors + lane.first]) == 0 ||
           load(slot_table[target * vectors + lane.second]) == 0;
}

// A free slot of the receiver, now ours; `vectors` where there is none.
std::uint32_t claim(std::uint32_t target, std::uint32_t self, Lane lane) {
    for (const auto index : {lane.first, lane.second}) {
        auto& slot = slot_table[target * vectors + index];
        if (load(slot) == 0 && compare_exchange(slot, std::uint32_t{0}, self + 1))
            return index;
    }
    return vectors;
}

// Halts until one of the receivers has a slot free. Spinning would keep a receiver from running that shares
// the PU.
void wait_for_a_slot(const Target* list, std::uint64_t length, std::uint32_t self, Lane lane) {
    for (std::uint64_t i = 0; i < length; ++i) {
        auto& waiter = waiter_table[list[i].vcpu];
        if (!compare_exchange(waiter, std::uint32_t{0}, self + 1))
            continue; // somebody else waits for this one
        halt_until([&] { return load(waiter) != self + 1 || is_free(list[i].vcpu, lane); });
        compare_exchange(waiter, self + 1, std::uint32_t{0});
        return;
    }
    pause();
}

// All of the ICR but vector and destination.
std::uint64_t command_base(std::uint64_t how) {
    if (how == nmi)
        return apic::command(0, apic::Shorthand::none, apic::Delivery::nmi, 0);
    return apic::command(0, apic::Shorthand::none, apic::Delivery::fixed, 0,
                         how == logical ? apic::Destination::logical : apic::Destination::physical);
}

} // namespace

NESTBED_JOB(unicast_ipis, "ipi.unicast", "Every interrupt sent is received exactly once, by the right vCPU",
            "SDM volume 3, 11.6.1 and 11.12.10; APM volume 2, 16.5") {
    auto& mailbox = this_vcpu();
    const auto self = mailbox.vcpu;
    const auto how = job_argument(mode);
    const auto per_vcpu = job_argument(targets_per_vcpu);
    const auto lane = lane_of(self, how);
    const auto base = command_base(how);

    // Another vCPU may already be sending to this one: all of this happens with interrupts off, and the
    // tables are the same whoever writes them. NMIs cannot be held off, but the first one of another vCPU
    // comes after its own writes.
    disable_interrupts();
    store(vcpu_count, header().vcpus);
    store(slot_table, pointer_to<std::uint32_t>(job_argument(slots)));
    store(waiter_table, pointer_to<std::uint32_t>(job_argument(waiters)));
    store(received_table, pointer_to<std::uint8_t>(job_argument(received)));
    set_nmi_handler(how == nmi ? &take_nmi : nullptr);
    for (std::uint32_t i = 0; i < vectors; ++i)
        set_interrupt_handler(static_cast<std::uint8_t>(first_vector + i),
                              how == nmi ? &count_spurious_interrupt : &take_interrupt);
    enable_interrupts();

    const auto send = [&](const Target& target) {
        const auto index = claim(target.vcpu, self, lane);
        if (index == vectors)
            return false;
        apic::write(apic::Register::interrupt_command,
                    base | std::uint64_t{target.destination} << 32 | (how == nmi ? 0 : first_vector + index));
        ++mailbox.job_value[sent];
        return true;
    };
    // Where a receiver has no slot free, others go first; a few are put off before it is worth waiting.
    constexpr std::uint32_t most_put_off = 32;
    Target put_off[most_put_off];
    std::uint32_t waiting = 0;
    const auto* const list = pointer_to<const Target>(job_argument(targets)) + self * per_vcpu;
    for (std::uint64_t next = 0; next < per_vcpu || waiting > 0;) {
        if (next < per_vcpu && waiting < most_put_off) {
            if (!send(list[next]))
                put_off[waiting++] = list[next];
            ++next;
            continue;
        }
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < waiting; ++i)
            if (!send(put_off[i]))
                put_off[kept++] = put_off[i];
        if (kept == waiting) {
            ++mailbox.job_value[slot_waits];
            wait_for_a_slot(put_off, waiting, self, lane);
        }
        waiting = kept;
    }
    const auto all = job_argument(expected);
    halt_until([&] { return load(mailbox.job_value[received_count]) >= all; });
}

} // namespace nestbed::guest
