#include "stress/drivers/registry.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "stress/selection.hpp"

namespace nestbed::stress {

namespace {

constexpr std::array groups{
    &bringup_drivers, &ipi_drivers, &cache_line_drivers, &timer_drivers, &exit_drivers,    &lock_drivers,
    &memory_drivers,  &tlb_drivers, &dirty_drivers,      &irqfd_drivers, &machine_drivers, &nested_drivers,
};

std::vector<StressDriver> gather() {
    std::vector<StressDriver> drivers;
    for (const auto group : groups)
        std::ranges::copy(group(), std::back_inserter(drivers));
    return drivers;
}

} // namespace

std::span<const StressDriver> all_drivers() {
    static const auto drivers = gather();
    return drivers;
}

const report::NotParallel& not_parallel_drivers() {
    static const auto all = [] {
        report::NotParallel reasons;
        for (const auto& driver : all_drivers())
            if (!driver.not_parallel.empty())
                reasons.emplace(driver.name, driver.not_parallel);
        return reasons;
    }();
    return all;
}

Result<std::vector<const StressDriver*>> select_drivers(const std::vector<std::string>& patterns) {
    const auto drivers = all_drivers();
    std::vector<std::string> wanted;
    for (const auto& pattern : patterns)
        wanted.push_back(pattern == "all" ? "*" : pattern);
    for (const auto& pattern : wanted)
        if (std::ranges::none_of(drivers, [&](const auto& d) { return selected({pattern}, d.name); })) {
            std::vector<std::string_view> names;
            for (const auto& driver : drivers)
                names.push_back(driver.name);
            return fail(ErrorKind::bad_input, fmt::format("run the driver \"{}\"", pattern),
                        "no driver has such a name", fmt::format("there are: {}", fmt::join(names, ", ")));
        }
    std::vector<const StressDriver*> chosen;
    for (const auto& driver : drivers)
        if (selected(wanted, driver.name))
            chosen.push_back(&driver);
    return chosen;
}

} // namespace nestbed::stress
