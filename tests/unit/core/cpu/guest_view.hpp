// The guest's side of a CPUID table: the instruction, and how an operating system reads the topology out of
// it. Nothing here knows how the table was written.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/cpu/seen.hpp"
#include "core/cpu/table.hpp"

namespace nestbed::core::cpu::test {

// The CPUID instruction as KVM answers it: zeros for what the table lacks.
[[nodiscard]] SeenCpuid execute(const Table& table, std::uint32_t leaf, std::uint32_t subleaf = 0);

// What the guest would dump.
[[nodiscard]] std::vector<SeenCpuid> dump(const Table& table);

// A vCPU's place as decoded from its own registers alone.
struct Place {
    std::uint32_t x2apic_id = 0;
    std::uint32_t package = 0;
    std::uint32_t die = 0;
    std::uint32_t core = 0;
    std::uint32_t thread = 0;

    auto operator<=>(const Place&) const = default;
};

// From a level leaf, walking subleaves until the type is 0 or no processors are left, the way Linux does.
// Empty where the maximum leaf hides it, where the subleaves disagree about the id, or where a level shrinks.
[[nodiscard]] std::optional<Place> decode_levels(const Table& table, std::uint32_t leaf);

} // namespace nestbed::core::cpu::test
