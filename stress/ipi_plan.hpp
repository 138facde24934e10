// Who sends to whom, and whether what arrived is what was sent. Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nestbed::stress {

// `per_vcpu` targets for each of `vcpus` senders, sender by sender. Every vCPU is the target of exactly
// `per_vcpu` interrupts and never of its own.
struct IpiTargets {
    std::uint32_t vcpus = 0;
    std::uint32_t per_vcpu = 0;
    std::vector<std::uint32_t> targets;
};

// Each to each other: sender i starts with i + 1, so that the senders do not all press on the same receiver.
[[nodiscard]] IpiTargets all_pairs(std::uint32_t vcpus);

// `rounds` random pairings, each a permutation without a fixed point; the same seed gives the same ones.
[[nodiscard]] IpiTargets random_pairs(std::uint32_t vcpus, std::uint32_t rounds, std::uint64_t seed);

// `received` is a matrix of bytes, receiver by sender, saturating at 255. One line for each pair whose count
// differs from what was sent.
[[nodiscard]] std::vector<std::string> compare_received(const IpiTargets& sent,
                                                        std::span<const std::uint8_t> received);

} // namespace nestbed::stress
