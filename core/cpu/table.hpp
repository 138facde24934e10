// A CPUID table in the form that KVM takes and gives.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <linux/kvm.h>

namespace nestbed::core::cpu {

using Table = std::vector<kvm_cpuid_entry2>;

enum class Register { eax, ebx, ecx, edx };

// Null where there is none. An entry without KVM_CPUID_FLAG_SIGNIFCANT_INDEX answers for every subleaf.
[[nodiscard]] const kvm_cpuid_entry2* find(const Table& table, std::uint32_t leaf, std::uint32_t subleaf = 0);

// Which family of topology leaves a guest with this vendor string looks at.
enum class Vendor {
    intel, // leaves 4, 0xB and 0x1F
    amd,   // leaves 0xB, 0x8000001D, 0x8000001E and 0x80000026
    hygon, // as AMD, from which it descends
    other, // Zhaoxin, Centaur and unknown ones: as Intel
};

[[nodiscard]] std::string_view to_string(Vendor vendor);

// True for the vendors with AMD's leaves.
[[nodiscard]] bool is_amd_like(Vendor vendor);

// From leaf 0; `other` where the table has none.
[[nodiscard]] Vendor vendor_of(const Table& table);

// From the registers of leaf 0.
[[nodiscard]] Vendor vendor_of(std::uint32_t ebx, std::uint32_t ecx, std::uint32_t edx);

} // namespace nestbed::core::cpu
