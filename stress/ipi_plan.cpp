#include "stress/ipi_plan.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include <fmt/format.h>

namespace nestbed::stress {

namespace {

// Sattolo's algorithm: a random cyclic permutation, so nobody is paired with itself. Not std::shuffle, whose
// result for a seed is the library's own affair.
std::vector<std::uint32_t> cycle(std::uint32_t count, std::mt19937_64& random) {
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0U);
    for (std::uint32_t i = count; i-- > 1;)
        std::swap(order[i], order[random() % i]);
    return order;
}

} // namespace

IpiTargets all_pairs(std::uint32_t vcpus) {
    if (vcpus < 2)
        return {vcpus, 0, {}};
    IpiTargets plan{vcpus, vcpus - 1, {}};
    plan.targets.reserve(std::size_t{vcpus} * plan.per_vcpu);
    for (std::uint32_t sender = 0; sender < vcpus; ++sender)
        for (std::uint32_t step = 1; step < vcpus; ++step)
            plan.targets.push_back((sender + step) % vcpus);
    return plan;
}

IpiTargets random_pairs(std::uint32_t vcpus, std::uint32_t rounds, std::uint64_t seed) {
    if (vcpus < 2)
        return {vcpus, 0, {}};
    IpiTargets plan{vcpus, rounds, std::vector<std::uint32_t>(std::size_t{vcpus} * rounds)};
    std::mt19937_64 random{seed};
    for (std::uint32_t round = 0; round < rounds; ++round) {
        const auto order = cycle(vcpus, random);
        for (std::uint32_t sender = 0; sender < vcpus; ++sender)
            plan.targets[std::size_t{sender} * rounds + round] = order[sender];
    }
    return plan;
}

std::vector<std::string> compare_received(const IpiTargets& sent, std::span<const std::uint8_t> received) {
    std::vector<std::uint32_t> expected(std::size_t{sent.vcpus} * sent.vcpus);
    for (std::uint32_t sender = 0; sender < sent.vcpus; ++sender)
        for (std::uint32_t i = 0; i < sent.per_vcpu; ++i)
            ++expected[std::size_t{sent.targets[std::size_t{sender} * sent.per_vcpu + i]} * sent.vcpus +
                       sender];
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < expected.size(); ++i)
        if (received[i] != std::min(expected[i], 255U))
            lines.push_back(fmt::format("from vCPU {} to vCPU {}: {} sent, {} received", i % sent.vcpus,
                                        i / sent.vcpus, expected[i], received[i]));
    return lines;
}

} // namespace nestbed::stress
