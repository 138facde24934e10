// What the kernel says of a thread under /proc/PID/task/TID. Pure; empty for text of another form.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nestbed::topology {

// Field 39 of stat, "processor" (proc(5)): where the thread ran last.
[[nodiscard]] std::optional<std::uint32_t> last_processor(std::string_view stat);

// Of schedstat (Documentation/scheduler/sched-stats.rst), in ns since the thread began.
struct SchedulerTimes {
    std::uint64_t run = 0;
    std::uint64_t wait = 0; // runnable, while others ran

    bool operator==(const SchedulerTimes&) const = default;
};
[[nodiscard]] std::optional<SchedulerTimes> parse_schedstat(std::string_view schedstat);

// "se.nr_migrations" of sched, which kernels with CONFIG_SCHED_DEBUG have.
[[nodiscard]] std::optional<std::uint64_t> parse_migrations(std::string_view sched);

} // namespace nestbed::topology
