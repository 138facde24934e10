#include "stress/sweep/schedule.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace nestbed::stress {

namespace {

// std::uniform_int_distribution and std::shuffle differ between libraries; the same seed has to give the
// same.
std::uint64_t draw(std::mt19937_64& random, std::uint64_t below) {
    return random() % below;
}

} // namespace

std::vector<std::size_t> order_of_round(std::size_t count, std::uint32_t round, std::uint64_t seed) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::mt19937_64 random{seed};
    for (auto left = count; left > 1; --left)
        std::swap(order[left - 1], order[draw(random, left)]);
    if (count > 0)
        std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(round / 2 % count),
                    order.end());
    if (round % 2 == 1)
        std::reverse(order.begin(), order.end());
    return order;
}

std::vector<PlannedPoint> plan_sweep(const Axes& axes, std::uint32_t repeat) {
    std::vector<PlannedPoint> points;
    std::vector<std::size_t> order(axes.configurations);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::uint32_t repetition = 0; repetition < repeat; ++repetition) {
        if (axes.balanced)
            order = order_of_round(axes.configurations, repetition, axes.seed);
        for (const auto* const driver : axes.drivers)
            for (const auto vcpus : axes.vcpus)
                for (const auto configuration : order)
                    if (vcpus >= driver->least_vcpus)
                        points.push_back({driver, configuration, vcpus, repetition, axes.seed + repetition});
    }
    return points;
}

std::vector<PlannedPoint> plan_mix_round(const Axes& axes, std::uint32_t round) {
    std::mt19937_64 random{axes.seed * 0x9e37'79b9'7f4a'7c15 + round};
    std::vector<const StressDriver*> order{axes.drivers.begin(), axes.drivers.end()};
    for (auto left = order.size(); left > 1; --left)
        std::swap(order[left - 1], order[draw(random, left)]);
    std::vector<PlannedPoint> points;
    for (const auto* const driver : order) {
        std::vector<std::uint32_t> counts;
        std::ranges::copy_if(axes.vcpus, std::back_inserter(counts),
                             [&](std::uint32_t vcpus) { return vcpus >= driver->least_vcpus; });
        if (counts.empty())
            continue;
        const auto vcpus = counts[draw(random, counts.size())];
        points.push_back({driver, draw(random, axes.configurations), vcpus, round, axes.seed + round});
    }
    return points;
}

double overhead_seconds(std::uint32_t vcpus) {
    return 0.2 + 0.005 * vcpus;
}

std::chrono::milliseconds mix_slot(std::chrono::milliseconds total, std::size_t drivers) {
    using namespace std::chrono_literals;
    // Four rounds, were it not for machines that come and go.
    const auto turns = static_cast<std::int64_t>(std::max<std::size_t>(drivers, 1)) * 4;
    return std::clamp(total / turns, std::chrono::milliseconds{50}, std::chrono::milliseconds{5s});
}

} // namespace nestbed::stress
