#include "core/cpu/msr.hpp"

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

namespace {

// SDM volume 3, "IA32_MTRR_DEF_TYPE MSR": bit 11 enables MTRRs, bits 7:0 are the type of whatever no range
// covers. Bit 10, the fixed ranges, stays off: they are all zero after reset, which would make the first MiB
// uncacheable.
constexpr std::uint32_t mtrr_def_type = 0x2ff;
constexpr std::uint64_t mtrr_enable = std::uint64_t{1} << 11;
constexpr std::uint64_t write_back = 6;

// SDM volume 4, table 2-2.
constexpr std::uint32_t misc_enable = 0x1a0;
constexpr std::uint64_t fast_strings = std::uint64_t{1} << 0;
constexpr std::uint64_t bts_unavailable = std::uint64_t{1} << 11;
constexpr std::uint64_t pebs_unavailable = std::uint64_t{1} << 12;

// SDM volume 4, table 2-2: VMXON needs the lock, and VMX enabled outside SMX. Firmware sets both.
constexpr std::uint32_t feature_control = 0x3a;
constexpr std::uint64_t feature_control_lock = std::uint64_t{1} << 0;
constexpr std::uint64_t vmx_outside_smx = std::uint64_t{1} << 2;

} // namespace

std::vector<NamedMsr> boot_msrs(const Table& guest_cpuid) {
    std::vector<NamedMsr> msrs;
    const auto* const features = find(guest_cpuid, leaf::features);
    if (features != nullptr && has_bit(features->edx, feature::mtrr))
        msrs.push_back(
            {.name = "IA32_MTRR_DEF_TYPE", .index = mtrr_def_type, .value = mtrr_enable | write_back});
    if (vendor_of(guest_cpuid) == Vendor::intel)
        msrs.push_back({.name = "IA32_MISC_ENABLE",
                        .index = misc_enable,
                        .value = fast_strings | bts_unavailable | pebs_unavailable});
    if (features != nullptr && has_bit(features->ecx, feature::vmx))
        msrs.push_back({.name = "IA32_FEATURE_CONTROL",
                        .index = feature_control,
                        .value = feature_control_lock | vmx_outside_smx});
    return msrs;
}

std::vector<MsrValue> without_bits(const std::vector<MsrValue>& offered,
                                   const std::vector<MsrValue>& hidden) {
    std::vector<MsrValue> left;
    for (const auto& msr : offered) {
        auto value = msr.value;
        for (const auto& bits : hidden)
            if (bits.index == msr.index)
                value &= ~bits.value;
        if (value != msr.value)
            left.push_back({.index = msr.index, .value = value});
    }
    return left;
}

kvm_msr_entry to_entry(const NamedMsr& msr) {
    return {.index = msr.index, .reserved = 0, .data = msr.value};
}

} // namespace nestbed::core::cpu
