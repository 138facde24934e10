#include "core/guest/runtime.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::tsc;

struct Work {
    std::uint64_t* latest;
    std::uint64_t iterations;
    std::uint64_t backward;
    std::uint64_t worst_step;
};

// RDTSC is not ordered with the load before it, so something has to be in between, or it would be done while
// that load still waits for its cache line. LFENCE in ring 3; in ring 0, which some hosts interpret without
// knowing LFENCE, the instruction that every host has and that serializes: CPUID (SDM volume 3, 8.3; APM
// volume 2, 7.6.4).
void order_ring3() {
    asm volatile("lfence" : : : "memory");
}
void order_ring0() {
    cpuid(0, 0);
}

template<void (*order)()>
void compare(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    for (std::uint64_t i = 0; i < work.iterations; ++i) {
        auto published = load(*work.latest);
        order();
        const auto now = rdtsc();
        if (now < published) {
            ++work.backward;
            if (published - now > work.worst_step)
                work.worst_step = published - now;
            continue;
        }
        while (published < now && !compare_exchange(*work.latest, published, now))
            published = load(*work.latest);
    }
}

} // namespace

NESTBED_JOB(tsc_monotonic, "tsc.monotonic", "No vCPU reads a TSC earlier than one that another has published",
            "SDM volume 3, 18.17; APM volume 2, 13.2.4") {
    Work work{pointer_to<std::uint64_t>(job_argument(latest)), job_argument(iterations), 0, 0};
    if (job_argument(ring3) != 0)
        run_in_user_mode(&compare<&order_ring3>, &work);
    else
        compare<&order_ring0>(&work);
    auto& mailbox = this_vcpu();
    mailbox.job_value[done] = work.iterations;
    mailbox.job_value[backward] = work.backward;
    mailbox.job_value[worst_step] = work.worst_step;
}

} // namespace nestbed::guest
