#include "stress/wire/dirty.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/splitmix.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::dirty;

constexpr std::uint64_t words = nestbed::wire::page_bytes / 8;
constexpr std::uint64_t between_looks = 64; // stores

struct Work {
    const std::uint64_t* stop;
    std::uint64_t* own;
    std::uint64_t* shared;
    std::uint64_t* written;
    std::uint64_t pages;
    SplitMix random;
    job::Counts counts;
};

void write_pages(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    while (load(*work.stop) == 0)
        for (std::uint64_t i = 0; i < between_looks; ++i) {
            const auto page = work.random.below(work.pages);
            if (i % 8 == 0) {
                add(work.shared[page * words + work.random.below(words)], std::uint64_t{1});
                ++work.counts.shared;
                continue;
            }
            const auto stamp = ++work.counts.own;
            store(work.own[page * words + job::stamp_word(page)], stamp);
            store(work.written[page], stamp);
        }
}

} // namespace

NESTBED_JOB(dirty_write, "dirty.write", "Writes pages at random while the host asks KVM which they are", "") {
    const std::uint64_t vcpu = this_vcpu().vcpu;
    const auto pages = job_argument(job::pages_each);
    auto* const arena = pointer_to<std::uint64_t>(job_argument(job::arena));
    // In ring 3, where guest code runs at full speed on every host.
    Work work{pointer_to<std::uint64_t>(job_argument(job::stop)),
              arena + vcpu * pages * words,
              arena + header().vcpus * pages * words,
              pointer_to<std::uint64_t>(job_argument(job::written)) + vcpu * pages,
              pages,
              SplitMix{mix(job_argument(job::seed)) + vcpu},
              {}};
    run_in_user_mode(&write_pages, &work);
    pointer_to<job::Counts>(job_argument(job::counts))[vcpu] = work.counts;
}

} // namespace nestbed::guest
