// VMCSs for people: every field by its name, as the manual spells it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nested/vmx/control_names.hpp"
#include "nested/vmx/vmcs_field.hpp"

namespace nestbed::vmx {

struct FieldValue {
    std::uint32_t encoding = 0; // as VMREAD takes it; may be none that the manual has
    std::uint64_t value = 0;
};

// "Guest CR0", "TSC offset (high)", "field 0x1234".
[[nodiscard]] std::string field_text(std::uint32_t encoding);

// "Enable EPT, Enable VPID, bit 29": the bits that are set, by the table's names.
[[nodiscard]] std::string bits_text(std::uint64_t value, std::span<const NamedBit> names);

// What a control's, an event's or a state's value means; empty where the number says it all. What depends on
// other fields too, the exit qualification among them, is for describe_vmcs().
[[nodiscard]] std::string meaning(Field field, std::uint64_t value);

// A heading and its fields for each type of field that there is, a line each, by ascending encoding.
[[nodiscard]] std::vector<std::string> describe_vmcs(std::span<const FieldValue> vmcs);

} // namespace nestbed::vmx
