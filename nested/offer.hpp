// Whether a host's KVM lets its guests be hypervisors, and why not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu/table.hpp"

namespace nestbed::nested {

enum class Extension { none, vmx, svm };

[[nodiscard]] std::string_view to_string(Extension extension); // "none", "VMX", "SVM"

// What the decision is made of; all of it empty where there is no KVM.
struct OfferFacts {
    core::cpu::Table supported_cpuid;        // KVM_GET_SUPPORTED_CPUID
    std::vector<std::uint32_t> feature_msrs; // KVM_GET_MSR_FEATURE_INDEX_LIST
    std::string module;                      // the vendor module that serves /dev/kvm; empty: not known
    // The vendor module's parameter "nested" as the kernel writes it: "Y", "N", "1", "0". Empty: it has none,
    // or it cannot be read.
    std::optional<std::string> nested_parameter;
};

struct Offer {
    Extension extension = Extension::none;
    std::string reason; // one clause: what shows that it is offered, or why it is not
    std::string remedy; // one command; empty where it is offered and where no command helps

    bool operator==(const Offer&) const = default;
};

[[nodiscard]] Offer offer_of(const OfferFacts& facts);

} // namespace nestbed::nested
