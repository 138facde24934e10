#include "stress/wire/ipi_load.hpp"

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/ipi_trace.hpp"
#include "stress/guest/pace.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::ipi_load;
namespace job = stress::wire::ipi_load;

Vcpu& entry_of(std::uint32_t vcpu) {
    return pointer_to<Vcpu>(job_argument(vcpus))[vcpu];
}

void take(std::uint64_t vector_taken) {
    const auto now = rdtsc();
    auto& own = entry_of(this_vcpu().vcpu);
    const auto claim = load(own.slot);
    if (claim == 0 || claim > header().vcpus) {
        ++own.unclaimed;
        count_spurious_interrupt(vector_taken);
        return;
    }
    const auto sender = static_cast<std::uint32_t>(claim - 1);
    auto& other = entry_of(sender);
    store(own.received, own.received + 1);
    store(other.taken_at, now);
    exchange(own.slot, std::uint64_t{0});
    store(other.acked, other.acked + 1); // one in flight for each sender
    apic::send(mailbox_of(sender).apic_id, nestbed::wire::wake_vector);
}

// False: another sender has claimed it. Else TSC ticks until it was taken, in `ticks`.
struct Sent {
    bool done;
    std::uint32_t ticks;
};
Sent send_to(std::uint32_t target, std::uint32_t self) {
    auto& own = entry_of(self);
    auto& slot = entry_of(target).slot;
    if (load(slot) != 0 || !compare_exchange(slot, std::uint64_t{0}, std::uint64_t{self} + 1)) {
        ++own.busy;
        pause();
        return {false, 0};
    }
    store(own.sent, own.sent + 1);
    const auto start = rdtsc();
    apic::send(mailbox_of(target).apic_id, job::vector);
    halt_until([&] { return load(own.acked) >= own.sent; });
    const auto taken = load(own.taken_at);
    keep(own.ring, {self, target, start, taken});
    if (taken < start) {
        ++own.backward;
        return {true, 1};
    }
    const auto ticks = taken - start;
    return {true, ticks < UINT32_MAX ? static_cast<std::uint32_t>(ticks) : UINT32_MAX};
}

std::uint64_t next_random(std::uint64_t& state) { // xorshift64 (Marsaglia 2003)
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

std::uint32_t after(std::uint32_t vcpu, std::uint32_t offset, std::uint32_t count) {
    const auto sum = vcpu + offset;
    return sum >= count ? sum - count : sum;
}

void spin_until_stopped(void*) {
    while (!told_to_stop())
        pause();
}

void send_in_turn(std::uint32_t self, std::uint32_t count) {
    auto& turns = *pointer_to<std::uint64_t>(job_argument(turn));
    const auto* const order = pointer_to<const std::uint32_t>(job_argument(offsets));
    auto* const row = pointer_to<std::uint32_t>(job_argument(samples)) + std::uint64_t{self} * count;
    const auto each = job_argument(samples_each);
    std::uint32_t next = 0;
    for (std::uint64_t mine = self;; mine += count) {
        halt_until([&] { return load(turns) == mine || told_to_stop(); });
        if (told_to_stop())
            return;
        for (std::uint64_t i = 0; i < each; ++i) {
            const auto target = after(self, order[next], count);
            next = next + 2 > count - 1 ? 0 : next + 1;
            const auto sent = send_to(target, self);
            if (sent.done && (row[target] == 0 || sent.ticks < row[target]))
                row[target] = sent.ticks != 0 ? sent.ticks : 1;
        }
        store(turns, mine + 1);
        apic::send(mailbox_of(after(self, 1, count)).apic_id, nestbed::wire::wake_vector);
    }
}

} // namespace

NESTBED_JOB(ipi_load, "stress.ipi", "Every interrupt is taken exactly once, by the vCPU it was sent to",
            "SDM volume 3, 11.6.1 and 11.12.10; APM volume 2, 16.5") {
    const auto self = this_vcpu().vcpu;
    const auto count = header().vcpus;
    const auto how = job_argument(pattern);
    set_interrupt_handler(job::vector, &take);
    if (how == token)
        return send_in_turn(self, count);
    const bool one_way = how == to_halted || how == to_running;
    if ((one_way && (self & 1) != 0) || ((one_way || how == partner) && (self ^ 1) >= count)) {
        if (how == to_running)
            run_in_user_mode(&spin_until_stopped, nullptr);
        else
            halt_until([] { return told_to_stop(); });
        return;
    }
    const auto each = job_argument(samples_each);
    auto* const ticks = pointer_to<std::uint32_t>(job_argument(samples)) + self * each;
    std::uint64_t state = (job_argument(seed) + 1) * 0x9e37'79b9'7f4a'7c15 ^ (std::uint64_t{self} << 32 | 1);
    std::uint32_t offset = 1;
    std::uint64_t slot = 0;
    while (!told_to_stop()) {
        auto target = self ^ 1;
        if (how == job::random) {
            const auto any = (next_random(state) >> 32) * (count - 1) >> 32;
            target = after(self, static_cast<std::uint32_t>(any) + 1, count);
        } else if (how == all) {
            target = after(self, offset, count);
            offset = offset + 1 == count ? 1 : offset + 1;
        }
        const auto sent = send_to(target, self);
        if (!sent.done)
            continue;
        ticks[slot] = sent.ticks;
        slot = slot + 1 == each ? 0 : slot + 1;
    }
}

} // namespace nestbed::guest
