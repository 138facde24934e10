// QEMU's -cpu option, as what it means for a machine that shows what KVM supports.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/cpu/shown_cpu.hpp"
#include "nested/profile.hpp"

namespace nestbed::guests {

struct WantedFeature {
    std::string_view name; // as QEMU has it; lives for ever
    core::cpu::CpuidBits bits;
};

struct QemuCpu {
    core::cpu::ShownCpu shown;
    std::vector<WantedFeature> wanted; // asked for with + or =on, in order
    bool vmx = true;                   // shown where KVM offers it, as all else
    bool svm = true;
    std::vector<std::string> vmx_without; // by their names in nested/vmx/features.hpp
};

// Of "max,+svm,-npt" and the like. The models are
//   max, host          all that KVM supports,
//   qemu64, Opteron_G1 of that, the features that QEMU's models of these names have, and x2APIC. Vendor,
//                      family and caches stay the host's.
// There are no others: what such a model promises beyond features nestbed cannot show. Errors: bad_input,
// with what there is none of.
[[nodiscard]] Result<QemuCpu> parse_qemu_cpu(std::string_view text);

// What to ask of a host whose KVM offers `extension`.
[[nodiscard]] nested::Profile nested_profile(const QemuCpu& cpu, nested::Extension extension);

} // namespace nestbed::guests
