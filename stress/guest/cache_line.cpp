#include "stress/wire/cache_line.hpp"

#include <initializer_list>

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/pace.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::cache_line;

struct Work {
    State* state;
    std::uint64_t pair;
    bool measures;
    std::uint64_t best;
    std::uint64_t wrong;
};

// In ring 3. The line's value goes on from pair to pair, so that nothing has to be reset in between.
void pass(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    auto& line = work.state->line;
    add(work.state->ready, std::uint64_t{1});
    while (load(work.state->ready) < 2 * (work.pair + 1))
        pause();
    auto expected = work.pair * steps_in_pair + (work.measures ? 0 : 1);
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
        const auto start = rdtsc();
        for (std::uint64_t round = 0; round < rounds_in_chunk; ++round) {
            auto seen = load(line);
            for (; seen < expected; seen = load(line))
                pause();
            if (seen != expected)
                ++work.wrong;
            store(line, expected + 1);
            expected += 2;
        }
        if (work.measures) {
            while (load(line) < expected)
                pause();
            const auto ticks = rdtsc() - start;
            if (work.best == 0 || ticks < work.best)
                work.best = ticks;
        }
    }
}

} // namespace

NESTBED_JOB(cache_line_passes, "stress.c2c",
            "A cache line passed between two vCPUs holds what was written last", "") {
    auto& mailbox = this_vcpu();
    const auto self = mailbox.vcpu;
    const auto* const list = pointer_to<const Pair>(job_argument(pairs));
    const auto* const own = pointer_to<const std::uint32_t>(job_argument(entries));
    const auto* const begin = pointer_to<const std::uint32_t>(job_argument(begins));
    auto& shared = *pointer_to<State>(job_argument(state));
    const auto last = job_argument(count);
    for (auto entry = begin[self]; entry < begin[self + 1]; ++entry) {
        const auto pair = own[entry];
        halt_until([&] { return (load(shared.turn) & ~closed) == pair || told_to_stop(); });
        if ((load(shared.turn) & ~closed) != pair) {
            // Nobody may begin after somebody has gone, or would wait for ever.
            const auto before = __atomic_fetch_or(&shared.turn, closed, __ATOMIC_SEQ_CST);
            if ((before & ~closed) != pair)
                return;
        }
        Work work{&shared, pair, list[pair].first == self, 0, 0};
        run_in_user_mode(&pass, &work);
        store(mailbox.job_value[wrong], mailbox.job_value[wrong] + work.wrong);
        store(mailbox.job_value[pairs_done], mailbox.job_value[pairs_done] + 1);
        if (!work.measures)
            continue;
        pointer_to<std::uint64_t>(job_argument(results))[pair] = work.best;
        if (!compare_exchange(shared.turn, std::uint64_t{pair}, std::uint64_t{pair} + 1) || pair + 1 == last)
            continue;
        for (const auto next : {list[pair + 1].first, list[pair + 1].second})
            if (next != self && next < header().vcpus)
                apic::send(mailbox_of(next).apic_id, nestbed::wire::wake_vector);
    }
}

} // namespace nestbed::guest
