// What a guest is not shown of the extensions for hypervisors, although KVM offers it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cpu/msr.hpp"

namespace nestbed::core::cpu {

struct HiddenNested {
    std::uint32_t svm = 0;     // bits of CPUID Fn8000_000A EDX
    std::vector<MsrValue> vmx; // bits of VMX capability MSRs

    bool operator==(const HiddenNested&) const = default;
};

} // namespace nestbed::core::cpu
