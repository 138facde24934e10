#include "core/cpu/table.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

const kvm_cpuid_entry2* find(const Table& table, std::uint32_t leaf, std::uint32_t subleaf) {
    const auto found = std::ranges::find_if(table, [&](const kvm_cpuid_entry2& entry) {
        return entry.function == leaf &&
               ((entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || entry.index == subleaf);
    });
    return found == table.end() ? nullptr : &*found;
}

std::string_view to_string(Vendor vendor) {
    switch (vendor) {
    case Vendor::intel:
        return "Intel";
    case Vendor::amd:
        return "AMD";
    case Vendor::hygon:
        return "Hygon";
    case Vendor::other:
        break;
    }
    return "other";
}

bool is_amd_like(Vendor vendor) {
    return vendor == Vendor::amd || vendor == Vendor::hygon;
}

Vendor vendor_of(const Table& table) {
    const auto* const entry = find(table, leaf::vendor);
    return entry == nullptr ? Vendor::other : vendor_of(entry->ebx, entry->ecx, entry->edx);
}

Vendor vendor_of(std::uint32_t ebx, std::uint32_t ecx, std::uint32_t edx) {
    // The string's order in the registers is EBX, EDX, ECX.
    const std::array registers{ebx, edx, ecx};
    std::array<char, sizeof registers> text{};
    std::memcpy(text.data(), registers.data(), text.size());
    const std::string_view name{text.data(), text.size()};
    if (name == "GenuineIntel")
        return Vendor::intel;
    if (name == "AuthenticAMD")
        return Vendor::amd;
    if (name == "HygonGenuine")
        return Vendor::hygon;
    return Vendor::other;
}

} // namespace nestbed::core::cpu
