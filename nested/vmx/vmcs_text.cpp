#include "nested/vmx/vmcs_text.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "nested/vmx/exit_text.hpp"
#include "nested/vmx/vmcs_names.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::array<std::string_view, 4> headings{
    "Control fields:", "Read-only data fields:", "Guest-state area:", "Host-state area:"};

std::string vectors_text(std::uint64_t bitmap) {
    std::vector<unsigned> vectors;
    for (unsigned vector = 0; vector < 32; ++vector)
        if ((bitmap >> vector & 1) != 0)
            vectors.push_back(vector);
    return vectors.empty() ? "" : fmt::format("vectors {}", fmt::join(vectors, ", "));
}

std::string activity_text(std::uint64_t state) {
    constexpr std::array names{"active", "HLT", "shutdown", "wait-for-SIPI"};
    return state < names.size() ? names.at(state) : "";
}

// SDM volume 3, "Format of Interruptibility State".
constexpr NamedBit interruptibility[]{{1U << 0, "", "blocking by STI", nullptr},
                                      {1U << 1, "", "blocking by MOV SS", nullptr},
                                      {1U << 2, "", "blocking by SMI", nullptr},
                                      {1U << 3, "", "blocking by NMI", nullptr},
                                      {1U << 4, "", "enclave interruption", nullptr}};

// SDM volume 3, "Format of Pending-Debug-Exceptions".
constexpr NamedBit pending_debug[]{
    {1U << 0, "", "B0", nullptr},   {1U << 1, "", "B1", nullptr},
    {1U << 2, "", "B2", nullptr},   {1U << 3, "", "B3", nullptr},
    {1U << 11, "", "BLD", nullptr}, {1U << 12, "", "enabled breakpoint", nullptr},
    {1U << 14, "", "BS", nullptr},  {1U << 16, "", "RTM", nullptr}};

// SDM volume 3, "Format of Access Rights".
std::string access_rights_text(std::uint64_t rights) {
    if ((rights >> 16 & 1) != 0)
        return "unusable";
    constexpr NamedBit flags[]{{1U << 4, "", "S", nullptr},    {1U << 7, "", "P", nullptr},
                               {1U << 12, "", "AVL", nullptr}, {1U << 13, "", "L", nullptr},
                               {1U << 14, "", "D/B", nullptr}, {1U << 15, "", "G", nullptr}};
    constexpr std::uint64_t numbers = 0x6f;
    const auto words = bits_text(rights & ~numbers, flags);
    return fmt::format("type {}, DPL {}{}{}", rights & 15, rights >> 5 & 3, words.empty() ? "" : ", ", words);
}

// SDM volume 3, "Format of Extended-Page-Table Pointer".
std::string ept_pointer_text(std::uint64_t pointer) {
    constexpr std::uint64_t address = 0x000f'ffff'ffff'f000;
    const auto type = pointer & 7;
    return fmt::format("{:#x}, {}, {} levels{}{}", pointer & address,
                       type == 0   ? "uncacheable"
                       : type == 6 ? "write-back"
                                   : fmt::format("memory type {}", type),
                       (pointer >> 3 & 7) + 1, (pointer >> 6 & 1) != 0 ? ", accessed and dirty flags" : "",
                       (pointer >> 7 & 1) != 0 ? ", supervisor shadow-stack control" : "");
}

std::uint32_t value_of(std::span<const FieldValue> vmcs, Field field) {
    const auto found = std::ranges::find(vmcs, static_cast<std::uint32_t>(field),
                                         [](const FieldValue& one) { return one.encoding; });
    return found == vmcs.end() ? 0 : static_cast<std::uint32_t>(found->value);
}

std::string meaning_in(std::span<const FieldValue> vmcs, const FieldValue& one) {
    const auto* const known = find_field(one.encoding);
    if (known == nullptr || decode_encoding(one.encoding).access == Access::high)
        return {};
    switch (known->field) {
    case Field::exit_qualification:
        return qualification_text(value_of(vmcs, Field::exit_reason), one.value,
                                  value_of(vmcs, Field::exit_interruption_information));
    case Field::exit_instruction_information:
        return instruction_information_text(value_of(vmcs, Field::exit_reason),
                                            static_cast<std::uint32_t>(one.value));
    default:
        return meaning(known->field, one.value);
    }
}

} // namespace

std::string field_text(std::uint32_t encoding) {
    const auto* const known = find_field(encoding);
    if (known == nullptr)
        return fmt::format("field {:#x}", encoding);
    return fmt::format("{}{}", known->name,
                       decode_encoding(encoding).access == Access::high ? " (high)" : "");
}

std::string bits_text(std::uint64_t value, std::span<const NamedBit> names) {
    std::vector<std::string> words;
    for (unsigned number = 0; number < 64; ++number) {
        const auto mask = std::uint64_t{1} << number;
        if ((value & mask) == 0)
            continue;
        const auto known = std::ranges::find(names, mask, &NamedBit::mask);
        words.push_back(known == names.end() ? fmt::format("bit {}", number) : known->name);
    }
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string meaning(Field field, std::uint64_t value) {
    const auto low = static_cast<std::uint32_t>(value);
    switch (field) {
    case Field::pin_based_controls:
        return bits_text(value, pin_based_control_names);
    case Field::primary_controls:
        return bits_text(value, primary_control_names);
    case Field::secondary_controls:
        return bits_text(value, secondary_control_names);
    case Field::tertiary_controls:
        return bits_text(value, tertiary_control_names);
    case Field::exit_controls:
        return bits_text(value, vm_exit_control_names);
    case Field::secondary_exit_controls:
        return bits_text(value, secondary_vm_exit_control_names);
    case Field::entry_controls:
        return bits_text(value, vm_entry_control_names);
    case Field::exception_bitmap:
        return vectors_text(value);
    case Field::ept_pointer:
        return ept_pointer_text(value);
    case Field::exit_reason:
        return exit_reason_text(low);
    case Field::instruction_error:
        return instruction_error_text(low);
    case Field::exit_interruption_information:
    case Field::idt_vectoring_information:
    case Field::entry_interruption_information:
        return event_text(low);
    case Field::guest_activity_state:
        return activity_text(value);
    case Field::guest_interruptibility_state:
        return bits_text(value, interruptibility);
    case Field::guest_pending_debug_exceptions:
        return bits_text(value, pending_debug);
    case Field::guest_es_access_rights:
    case Field::guest_cs_access_rights:
    case Field::guest_ss_access_rights:
    case Field::guest_ds_access_rights:
    case Field::guest_fs_access_rights:
    case Field::guest_gs_access_rights:
    case Field::guest_ldtr_access_rights:
    case Field::guest_tr_access_rights:
        return access_rights_text(value);
    default:
        return {};
    }
}

std::vector<std::string> describe_vmcs(std::span<const FieldValue> vmcs) {
    std::vector<FieldValue> sorted{vmcs.begin(), vmcs.end()};
    std::ranges::stable_sort(sorted, {}, &FieldValue::encoding);
    std::vector<std::string> lines;
    for (std::size_t type = 0; type < headings.size(); ++type) {
        bool headed = false;
        for (const auto& one : sorted) {
            if (static_cast<std::size_t>(decode_encoding(one.encoding).type) != type)
                continue;
            if (!headed)
                lines.emplace_back(headings.at(type));
            headed = true;
            const auto text = meaning_in(vmcs, one);
            lines.push_back(fmt::format("  {:<48} {:#x}{}", field_text(one.encoding), one.value,
                                        text.empty() ? "" : fmt::format("  ({})", text)));
        }
    }
    return lines;
}

} // namespace nestbed::vmx
