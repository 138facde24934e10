#include "core/cpu/difference.hpp"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

namespace {

constexpr std::uint32_t all_bits = ~std::uint32_t{0};
constexpr std::array all_registers{Register::eax, Register::ebx, Register::ecx, Register::edx};

struct DynamicBits {
    std::uint32_t leaf;
    std::uint32_t subleaf;
    Register reg;
    std::uint32_t mask;
};

// From arch/x86/kvm/cpuid.c in Linux, kvm_update_cpuid_runtime() and kvm_vcpu_after_set_cpuid():
constexpr std::array dynamic_bits{
    // CR4.OSXSAVE; and MONITOR follows IA32_MISC_ENABLE where KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT is off.
    DynamicBits{leaf::features, 0, Register::ecx, bit(feature::osxsave) | bit(feature::monitor)},
    // IA32_APIC_BASE's global enable.
    DynamicBits{leaf::features, 0, Register::edx, bit(feature::apic)},
    // CR4.PKE.
    DynamicBits{leaf::structured_features, 0, Register::ecx, bit(feature::ospke)},
    // The sizes of the save area for the current XCR0, and for XCR0 | IA32_XSS.
    DynamicBits{leaf::xsave, 0, Register::ebx, all_bits},
    DynamicBits{leaf::xsave, 1, Register::ebx, all_bits},
    // SECS.ATTRIBUTES.XFRM, clamped to the XCR0 that the guest may use (5.13 to 6.4).
    DynamicBits{leaf::sgx, 1, Register::ecx, all_bits},
    DynamicBits{leaf::sgx, 1, Register::edx, all_bits},
    // Withdrawn while HLT does not exit (KVM_X86_DISABLE_EXITS_HLT).
    DynamicBits{leaf::kvm_features, 0, Register::eax, bit(feature::pv_unhalt)},
};

std::uint32_t compared_bits(std::uint32_t leaf, std::uint32_t subleaf, Register reg) {
    std::uint32_t mask = all_bits;
    for (const auto& dynamic : dynamic_bits)
        if (dynamic.leaf == leaf && dynamic.subleaf == subleaf && dynamic.reg == reg)
            mask &= ~dynamic.mask;
    return mask;
}

constexpr std::uint32_t bits(unsigned low, unsigned width) {
    return field_max(width) << low;
}

// The bits that this project decides on; every other one is the host's.
std::uint32_t own_bits(std::uint32_t leaf, Register reg) {
    if (is_of_topology(leaf))
        return all_bits;
    switch (leaf) {
    case leaf::vendor:
    case leaf::extended_max:
        return reg == Register::eax ? all_bits : 0;
    case leaf::features:
        if (reg == Register::ebx)
            return bits(16, 16);
        if (reg == Register::ecx)
            return bit(feature::vmx) | bit(feature::x2apic) | bit(feature::tsc_deadline) |
                   bit(feature::hypervisor);
        return reg == Register::edx ? bit(feature::htt) : 0;
    case leaf::kvm_features:
        return reg == Register::eax ? bit(feature::msi_ext_dest_id) : 0;
    case leaf::extended_features:
        return reg == Register::ecx ? bit(feature::cmp_legacy) | bit(feature::svm) | bit(feature::topoext)
                                    : 0;
    case leaf::address_sizes:
        return reg == Register::ecx ? bits(0, 8) | bits(12, 4) : 0;
    default:
        return 0;
    }
}

std::uint32_t value_of(const kvm_cpuid_entry2& entry, Register reg) {
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

std::optional<std::uint32_t> value_of(const kvm_cpuid_entry2* entry, Register reg) {
    return entry == nullptr ? std::nullopt : std::optional{value_of(*entry, reg)};
}

// `find` treats an entry without a significant index as an answer to every subleaf, which is right for a
// guest's question and wrong for pairing entries.
const kvm_cpuid_entry2* same_entry(const Table& table, const kvm_cpuid_entry2& wanted) {
    for (const auto& entry : table)
        if (entry.function == wanted.function && entry.index == wanted.index)
            return &entry;
    return nullptr;
}

std::vector<CpuidDifference> differences_of(std::uint32_t leaf, std::uint32_t subleaf,
                                            const kvm_cpuid_entry2* written, const kvm_cpuid_entry2* read) {
    std::vector<CpuidDifference> found;
    for (const auto reg : all_registers) {
        const auto before = value_of(written, reg);
        const auto after = value_of(read, reg);
        if (((before.value_or(0) ^ after.value_or(0)) & compared_bits(leaf, subleaf, reg)) != 0)
            found.push_back({.leaf = leaf, .subleaf = subleaf, .reg = reg, .written = before, .read = after});
    }
    return found;
}

std::string_view name_of(Register reg) {
    switch (reg) {
    case Register::eax:
        return "EAX";
    case Register::ebx:
        return "EBX";
    case Register::ecx:
        return "ECX";
    case Register::edx:
        break;
    }
    return "EDX";
}

} // namespace

std::string to_string(const CpuidDifference& difference) {
    const auto number = [](std::optional<std::uint32_t> value) {
        return value ? fmt::format("{:#x}", *value) : std::string{"nothing"};
    };
    return fmt::format("leaf {:#x} subleaf {} {}: written {}, read {}", difference.leaf, difference.subleaf,
                       name_of(difference.reg), number(difference.written), number(difference.read));
}

bool is_ours(const CpuidDifference& difference) {
    auto changed = difference.written.value_or(0) ^ difference.read.value_or(0);
    // Set beside a count of one, HTT says what the count says (SDM volume 2, CPUID leaf 01H). KVMs whose
    // guests execute CPUID without an exit set it.
    if (difference.leaf == leaf::features && difference.reg == Register::edx)
        changed &= ~(difference.read.value_or(0) & bit(feature::htt));
    return (changed & own_bits(difference.leaf, difference.reg)) != 0;
}

std::vector<CpuidDifference> differences(const Table& written, const Table& read_back) {
    std::vector<CpuidDifference> all;
    const auto add = [&](const kvm_cpuid_entry2& key, const kvm_cpuid_entry2* before,
                         const kvm_cpuid_entry2* after) {
        const auto found = differences_of(key.function, key.index, before, after);
        all.insert(all.end(), found.begin(), found.end());
    };
    for (const auto& entry : written)
        add(entry, &entry, same_entry(read_back, entry));
    for (const auto& entry : read_back)
        if (same_entry(written, entry) == nullptr)
            add(entry, nullptr, &entry);
    return all;
}

} // namespace nestbed::core::cpu
