#include "stress/wire/memory_load.hpp"

#include "core/guest/runtime.hpp"
#include "stress/guest/pace.hpp"

namespace nestbed::guest {

namespace {

namespace load_job = stress::wire::memory_load;
namespace touch_job = stress::wire::first_touch;

constexpr std::uint64_t words_in_line = load_job::line_bytes / 8;

struct Load {
    const load_job::Part* parts;
    load_job::Result* results;
    std::uint64_t salt; // other in each pass and of each vCPU
};

// A full cycle through a power of two of lines, in an order that no prefetcher follows (Hull and Dobell: a -
// 1 a multiple of 4, c odd).
struct Ring {
    std::uint64_t mask;
    [[nodiscard]] std::uint64_t after(std::uint64_t line) const {
        return (line * 0x5851'f42d'4c95'7f2d + 0x1405'7b7e'f767'814f) & mask;
    }
};

std::uint64_t word_of(std::uint64_t line, std::uint64_t word, std::uint64_t salt) {
    return (line * words_in_line + word) * 0x9e37'79b9'7f4a'7c15 ^ salt;
}

void fill(const load_job::Part& part, load_job::Result& result, std::uint64_t salt) {
    const Ring ring{part.lines - 1};
    auto* const words = pointer_to<volatile std::uint64_t>(part.address);
    const auto start = rdtsc();
    for (std::uint64_t line = 0; line < part.lines; ++line) {
        auto* const own = words + line * words_in_line;
        own[0] = ring.after(line);
        for (std::uint64_t word = 1; word < words_in_line; ++word)
            own[word] = word_of(line, word, salt);
    }
    result.write_ticks += rdtsc() - start;
    result.written += part.lines;
}

void read_back(const load_job::Part& part, load_job::Result& result, std::uint64_t salt) {
    const Ring ring{part.lines - 1};
    const auto* const words = pointer_to<const volatile std::uint64_t>(part.address);
    std::uint64_t wrong = 0;
    const auto start = rdtsc();
    for (std::uint64_t line = 0; line < part.lines; ++line) {
        const auto* const own = words + line * words_in_line;
        wrong += own[0] != ring.after(line) ? 1 : 0;
        for (std::uint64_t word = 1; word < words_in_line; ++word)
            wrong += own[word] != word_of(line, word, salt) ? 1 : 0;
    }
    result.read_ticks += rdtsc() - start;
    result.read += part.lines;
    result.wrong += wrong;
}

void walk(const load_job::Part& part, load_job::Result& result) {
    const auto* const words = pointer_to<const volatile std::uint64_t>(part.address);
    const auto mask = part.lines - 1;
    std::uint64_t line = 0;
    const auto start = rdtsc();
    for (std::uint64_t step = 0; step < part.lines; ++step)
        line = words[(line & mask) * words_in_line];
    result.step_ticks += rdtsc() - start;
    result.steps += part.lines;
    if (line != 0)
        ++result.wrong;
}

void load_memory(void* argument) {
    auto& work = *static_cast<Load*>(argument);
    do {
        for (std::uint64_t i = 0; i < load_job::parts_of_vcpu; ++i) {
            if (work.parts[i].lines == 0)
                continue;
            ++work.salt;
            fill(work.parts[i], work.results[i], work.salt);
            read_back(work.parts[i], work.results[i], work.salt);
            walk(work.parts[i], work.results[i]);
        }
    } while (!told_to_stop());
}

struct Touch {
    touch_job::Part part;
    touch_job::Result* result;
    std::uint64_t seed;
    std::uint32_t* ticks;
    std::uint64_t most_ticks;
};

void touch_pages(void* argument) {
    auto& work = *static_cast<Touch*>(argument);
    for (std::uint64_t page = 0; page < work.part.pages && !told_to_stop(); ++page) {
        const auto address = work.part.address + page * wire::page_bytes;
        const auto start = rdtsc();
        const auto before =
            exchange(*pointer_to<std::uint64_t>(address), touch_job::mark(work.seed, address));
        const auto ticks = rdtsc() - start;
        if (before != 0)
            ++work.result->dirty;
        if (page < work.most_ticks)
            work.ticks[page] = ticks < UINT32_MAX ? static_cast<std::uint32_t>(ticks) : UINT32_MAX;
        ++work.result->touched;
    }
}

} // namespace

NESTBED_JOB(memory_load, "stress.memory", "Memory holds what was written", "") {
    const auto first = std::uint64_t{this_vcpu().vcpu} * load_job::parts_of_vcpu;
    Load work{pointer_to<const load_job::Part>(job_argument(load_job::parts)) + first,
              pointer_to<load_job::Result>(job_argument(load_job::results)) + first,
              (job_argument(load_job::seed) << 32) + (std::uint64_t{this_vcpu().vcpu} << 52)};
    run_in_user_mode(&load_memory, &work);
}

NESTBED_JOB(first_touch, "stress.fault",
            "A page that is touched first is zero, and then holds what was written", "") {
    const auto self = this_vcpu().vcpu;
    const auto most = job_argument(touch_job::samples_each);
    Touch work{pointer_to<const touch_job::Part>(job_argument(touch_job::parts))[self],
               pointer_to<touch_job::Result>(job_argument(touch_job::results)) + self,
               job_argument(touch_job::seed),
               pointer_to<std::uint32_t>(job_argument(touch_job::samples)) + self * most, most};
    run_in_user_mode(&touch_pages, &work);
}

} // namespace nestbed::guest
