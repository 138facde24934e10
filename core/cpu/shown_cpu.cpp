#include "core/cpu/shown_cpu.hpp"

#include <cstring>

#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

namespace {

std::uint32_t& register_of(kvm_cpuid_entry2& entry, Register reg) {
    switch (reg) {
    case Register::eax:
        return entry.eax;
    case Register::ebx:
        return entry.ebx;
    case Register::ecx:
        return entry.ecx;
    case Register::edx:
        break;
    }
    return entry.edx;
}

std::uint32_t word_of(std::string_view text, std::size_t number) {
    std::uint32_t word = 0;
    std::memcpy(&word, text.data() + number * sizeof(word), sizeof(word));
    return word;
}

constexpr std::size_t vendor_length = 12;

} // namespace

Table without_bits(Table table, std::span<const CpuidBits> hidden) {
    for (auto& entry : table)
        for (const auto& [leaf, subleaf, reg, bits] : hidden)
            if (entry.function == leaf && entry.index == subleaf)
                register_of(entry, reg) &= ~bits;
    return table;
}

Table with_vendor(Table table, std::string_view vendor) {
    if (vendor.size() != vendor_length)
        return table;
    for (auto& entry : table) {
        if (entry.function != leaf::vendor && entry.function != leaf::extended_max)
            continue;
        entry.ebx = word_of(vendor, 0);
        entry.edx = word_of(vendor, 1);
        entry.ecx = word_of(vendor, 2);
        if (entry.function == leaf::extended_max && !is_amd_like(vendor_of(entry.ebx, entry.ecx, entry.edx)))
            entry.ebx = entry.ecx = entry.edx = 0;
    }
    return table;
}

std::vector<CpuidBits> missing_bits(const Table& table, std::span<const CpuidBits> wanted) {
    std::vector<CpuidBits> missing;
    for (const auto& one : wanted) {
        const auto* const found = find(table, one.leaf, one.subleaf);
        auto entry = found == nullptr ? kvm_cpuid_entry2{} : *found;
        if ((register_of(entry, one.reg) & one.bits) != one.bits)
            missing.push_back(one);
    }
    return missing;
}

} // namespace nestbed::core::cpu
