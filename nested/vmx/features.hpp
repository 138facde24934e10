// VMX's features by name: what KVM offers, what a profile takes away.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu/msr.hpp"
#include "nested/vmx/capability.hpp"
#include "nested/vmx/control_names.hpp"

namespace nestbed::vmx {

// Values of capability MSRs, as KVM gives them.
using Capabilities = std::vector<core::cpu::MsrValue>;

[[nodiscard]] std::optional<std::uint64_t> value_of(const Capabilities& capabilities, std::uint32_t msr);

// Where the bits of a group stand in their MSR.
enum class Layout {
    pair, // controls: allowed 0-settings in the low half, allowed 1-settings in the high half
    mask, // controls: allowed 1-settings only
    bits, // what the processor can do, no controls
};

struct Group {
    std::string_view title;
    std::uint32_t msr; // the TRUE one where there are two: KVM derives the other from it
    Layout layout;
    std::string_view activated_by; // the feature without which none of them is of use; empty: always of use
    std::span<const NamedBit> bits;
};

[[nodiscard]] std::span<const Group> groups();

struct Feature {
    const Group* group = nullptr;
    const NamedBit* bit = nullptr;
};

[[nodiscard]] std::vector<std::string_view> feature_names();
[[nodiscard]] std::optional<Feature> find_feature(std::string_view name);

// What may be done with a bit; `zero` where its MSR is not there. A bit that is no control is `one` or
// `zero`.
[[nodiscard]] Allowed allowed(const Capabilities& capabilities, const Group& group, const NamedBit& bit);

// Those of `names` that are not offered, or that there are none of.
[[nodiscard]] std::vector<std::string> not_offered(const Capabilities& capabilities,
                                                   std::span<const std::string> names);

// The bits to clear in each MSR to hide features, with all those that need them: without EPT no unrestricted
// guest. Names that there are none of are passed over.
[[nodiscard]] std::vector<core::cpu::MsrValue> bits_to_hide(std::span<const std::string> names);

} // namespace nestbed::vmx
