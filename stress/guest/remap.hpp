// The two halves of a shootdown test: pages that change their place, and readers that see it. For L1's own
// page tables and for nested ones alike.
#pragma once

#include <cstdint>

#include "core/guest/runtime.hpp"
#include "stress/guest/splitmix.hpp"
#include "stress/wire/tlb.hpp"

namespace nestbed::guest {

// What the job was given.
struct RemapJob {
    const std::uint64_t* stop;
    stress::wire::tlb::State* state;
    stress::wire::tlb::Counts* counts; // this vCPU's
    std::uint64_t pages;               // physical, past the tables
    std::uint32_t* samples;
    std::uint64_t samples_each;
    std::uint64_t seed;
};
inline RemapJob remap_job() {
    namespace job = stress::wire::tlb;
    return {pointer_to<std::uint64_t>(job_argument(job::stop)),
            pointer_to<job::State>(job_argument(job::state)),
            pointer_to<job::Counts>(job_argument(job::counts)) + this_vcpu().vcpu,
            job_argument(job::pages) + job::table_pages * nestbed::wire::page_bytes,
            pointer_to<std::uint32_t>(job_argument(job::samples)),
            job_argument(job::samples_each),
            job_argument(job::seed)};
}

inline void note_stale(const RemapJob& job, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (job.counts->stale++ != 0)
        return;
    job.counts->value = value;
    job.counts->completed = least;
    job.counts->begun = most;
}

// Reads words of the window at `window` and compares what they say. Runs in any ring and any guest.
inline void read_window(const RemapJob& job, std::uint64_t window, SplitMix& random, unsigned times) {
    namespace tlb = stress::wire::tlb;
    for (unsigned i = 0; i < times; ++i) {
        const auto page = random.below(tlb::window_pages);
        const auto word = random.below(tlb::words) * tlb::word_stride;
        const auto least = load(job.state->completed);
        if (load(job.state->begun) == 0)
            return; // nothing is mapped yet
        const auto value =
            load(*pointer_to<const std::uint64_t>(window + page * nestbed::wire::page_bytes + word * 8));
        const auto most = load(job.state->begun);
        ++job.counts->reads;
        if (value >= tlb::value_of(least, page) && value <= tlb::value_of(most, page) &&
            (value & 0xffff) == page)
            continue;
        note_stale(job, value, least, most);
    }
}

// The same for a vCPU that has just dropped its own translations: it sees the generation that is begun.
inline void read_own_window(const RemapJob& job, std::uint64_t window) {
    namespace tlb = stress::wire::tlb;
    const auto generation = load(job.state->begun);
    for (std::uint64_t page = 0; page < tlb::window_pages; ++page) {
        const auto value = load(*pointer_to<const std::uint64_t>(window + page * nestbed::wire::page_bytes));
        ++job.counts->reads;
        if (value != tlb::value_of(generation, page))
            note_stale(job, value, generation, generation);
    }
}

// On the vCPU that changes the mapping.
class Remapper {
public:
    explicit Remapper(const RemapJob& job) : _job{job} {}

    // `map(page, physical)` changes one entry.
    template<typename Map>
    void begin(Map map) {
        namespace tlb = stress::wire::tlb;
        const auto next = _job.state->begun + 1;
        for (std::uint64_t page = 0; page < tlb::window_pages; ++page)
            fill(place(page, next), tlb::value_of(next, page));
        store(_job.state->answers, std::uint64_t{0});
        // Mapped before it is announced the first time, announced before it may be seen every other time.
        if (next > 1)
            store(_job.state->begun, next);
        _start = rdtsc();
        for (std::uint64_t page = 0; page < tlb::window_pages; ++page)
            map(page, place(page, next));
        store(_job.state->begun, next);
    }
    [[nodiscard]] bool answered() const { return load(_job.state->answers) + 1 == header().vcpus; }
    void complete() {
        namespace tlb = stress::wire::tlb;
        const auto generation = _job.state->begun;
        const auto ticks = rdtsc() - _start;
        constexpr std::uint64_t most = ~std::uint32_t{0};
        if (_job.samples_each != 0)
            _job.samples[generation % _job.samples_each] =
                static_cast<std::uint32_t>(ticks < most ? ticks : most);
        store(_job.state->completed, generation);
        for (std::uint64_t page = 0; page < tlb::window_pages; ++page)
            fill(place(page, generation + tlb::places - 1), tlb::poison);
    }

private:
    [[nodiscard]] std::uint64_t place(std::uint64_t page, std::uint64_t generation) const {
        return _job.pages + (page * stress::wire::tlb::places + generation % stress::wire::tlb::places) *
                                nestbed::wire::page_bytes;
    }
    static void fill(std::uint64_t page, std::uint64_t value) {
        for (std::uint64_t i = 0; i < stress::wire::tlb::words; ++i)
            store(pointer_to<std::uint64_t>(page)[i * stress::wire::tlb::word_stride], value);
    }

    RemapJob _job;
    std::uint64_t _start = 0;
};

} // namespace nestbed::guest
