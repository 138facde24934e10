#include "nested/vmx/features.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "nested/vmx/capability_names.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::array all{
    Group{"Basic VMX information", msr::basic, Layout::bits, "", basic_names},
    Group{"Pin-based VM-execution controls", msr::true_pinbased_ctls, Layout::pair, "",
          pin_based_control_names},
    Group{"Primary processor-based VM-execution controls", msr::true_procbased_ctls, Layout::pair, "",
          primary_control_names},
    Group{"Secondary processor-based VM-execution controls", msr::procbased_ctls2, Layout::pair,
          "sec_controls", secondary_control_names},
    Group{"Tertiary processor-based VM-execution controls", msr::procbased_ctls3, Layout::mask,
          "tertiary_controls", tertiary_control_names},
    Group{"Primary VM-exit controls", msr::true_exit_ctls, Layout::pair, "", vm_exit_control_names},
    Group{"Secondary VM-exit controls", msr::exit_ctls2, Layout::mask, "exit_sec_controls",
          secondary_vm_exit_control_names},
    Group{"VM-entry controls", msr::true_entry_ctls, Layout::pair, "", vm_entry_control_names},
    Group{"Miscellaneous data", msr::misc, Layout::bits, "", misc_names},
    Group{"EPT and VPID capabilities", msr::ept_vpid_cap, Layout::bits, "sec_controls", ept_vpid_names},
    Group{"VM functions", msr::vmfunc, Layout::mask, "vmfunc", vm_function_names},
};

// Where a processor has no TRUE MSRs, the plain ones say it all.
std::uint32_t plain_msr(std::uint32_t index) {
    switch (index) {
    case msr::true_pinbased_ctls:
        return msr::pinbased_ctls;
    case msr::true_procbased_ctls:
        return msr::procbased_ctls;
    case msr::true_exit_ctls:
        return msr::exit_ctls;
    case msr::true_entry_ctls:
        return msr::entry_ctls;
    default:
        return index;
    }
}

template<typename Visitor>
void for_each_feature(const Visitor& visit) {
    for (const auto& group : all)
        for (const auto& bit : group.bits)
            visit(group, bit);
}

// The names given and all that need one of them, over as many steps as it takes.
std::set<std::string_view> with_dependents(std::span<const std::string> names) {
    std::set<std::string_view> hidden;
    for (const auto& name : names)
        if (find_feature(name))
            hidden.insert(name);
    for (std::size_t before = 0; before != hidden.size();) {
        before = hidden.size();
        for_each_feature([&](const Group& group, const NamedBit& bit) {
            if (hidden.contains(group.activated_by) || (bit.needs != nullptr && hidden.contains(bit.needs)))
                hidden.insert(bit.feature);
        });
    }
    return hidden;
}

} // namespace

std::optional<std::uint64_t> value_of(const Capabilities& capabilities, std::uint32_t msr) {
    const auto found = std::ranges::find(capabilities, msr, &core::cpu::MsrValue::index);
    return found == capabilities.end() ? std::nullopt : std::optional{found->value};
}

std::span<const Group> groups() {
    return all;
}

std::vector<std::string_view> feature_names() {
    std::vector<std::string_view> names;
    for_each_feature([&](const Group&, const NamedBit& bit) { names.emplace_back(bit.feature); });
    return names;
}

std::optional<Feature> find_feature(std::string_view name) {
    std::optional<Feature> found;
    for_each_feature([&](const Group& group, const NamedBit& bit) {
        if (name == bit.feature)
            found = Feature{.group = &group, .bit = &bit};
    });
    return found;
}

Allowed allowed(const Capabilities& capabilities, const Group& group, const NamedBit& bit) {
    auto value = value_of(capabilities, group.msr);
    if (!value)
        value = value_of(capabilities, plain_msr(group.msr));
    if (!value)
        return Allowed::zero;
    switch (group.layout) {
    case Layout::pair:
        return allowed_in_pair(*value, static_cast<std::uint32_t>(bit.mask));
    case Layout::mask:
        return allowed_in_mask(*value, bit.mask);
    case Layout::bits:
        break;
    }
    return (*value & bit.mask) != 0 ? Allowed::one : Allowed::zero;
}

std::vector<std::string> not_offered(const Capabilities& capabilities, std::span<const std::string> names) {
    std::vector<std::string> missing;
    for (const auto& name : names) {
        const auto feature = find_feature(name);
        if (!feature || allowed(capabilities, *feature->group, *feature->bit) == Allowed::zero)
            missing.push_back(name);
    }
    return missing;
}

std::vector<core::cpu::MsrValue> bits_to_hide(std::span<const std::string> names) {
    const auto hidden = with_dependents(names);
    std::vector<core::cpu::MsrValue> bits;
    for (const auto& group : all) {
        std::uint64_t mask = 0;
        for (const auto& bit : group.bits)
            if (hidden.contains(bit.feature))
                mask |= group.layout == Layout::pair ? bit.mask << 32 : bit.mask;
        if (mask != 0)
            bits.push_back({.index = group.msr, .value = mask});
    }
    return bits;
}

} // namespace nestbed::vmx
