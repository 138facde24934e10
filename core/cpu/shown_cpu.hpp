// What a guest is shown of the processor, where that is not all that KVM supports.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu/table.hpp"

namespace nestbed::core::cpu {

struct CpuidBits {
    std::uint32_t leaf = 0;
    std::uint32_t subleaf = 0;
    Register reg = Register::eax;
    std::uint32_t bits = 0;

    bool operator==(const CpuidBits&) const = default;
};

struct ShownCpu {
    std::vector<CpuidBits> hidden; // read as zeros
    std::string vendor;            // the 12 characters of leaf 0; empty: the host's

    bool operator==(const ShownCpu&) const = default;
};

[[nodiscard]] Table without_bits(Table table, std::span<const CpuidBits> hidden);

// Leaf 0 has the vendor string, and so has leaf 0x80000000 of an AMD processor (APM volume 3, appendix E),
// where Intel's has zeros (SDM volume 2, CPUID). As it is where `vendor` has not 12 characters.
[[nodiscard]] Table with_vendor(Table table, std::string_view vendor);

// Those of `wanted` of which the table lacks a bit.
[[nodiscard]] std::vector<CpuidBits> missing_bits(const Table& table, std::span<const CpuidBits> wanted);

} // namespace nestbed::core::cpu
