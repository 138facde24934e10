// Model-specific registers in the state in which firmware hands the machine to an OS.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <linux/kvm.h>

#include "core/cpu/table.hpp"

namespace nestbed::core::cpu {

struct NamedMsr {
    std::string_view name;
    std::uint32_t index = 0;
    std::uint64_t value = 0;

    bool operator==(const NamedMsr&) const = default;
};

// A register's value, or some of its bits.
struct MsrValue {
    std::uint32_t index = 0;
    std::uint64_t value = 0;

    bool operator==(const MsrValue&) const = default;
};

// Only registers whose reset value an OS would not take for a finished firmware's, and only those that the
// guest's CPUID promises. KVM may refuse any one of them: set them one by one, go on after a refusal, and
// report it by its name.
[[nodiscard]] std::vector<NamedMsr> boot_msrs(const Table& guest_cpuid);

// What is left of `offered` without the bits of `hidden`: the MSRs in which a bit goes, in the order of
// `offered`.
[[nodiscard]] std::vector<MsrValue> without_bits(const std::vector<MsrValue>& offered,
                                                 const std::vector<MsrValue>& hidden);

// In the form of KVM_SET_MSRS.
[[nodiscard]] kvm_msr_entry to_entry(const NamedMsr& msr);

} // namespace nestbed::core::cpu
