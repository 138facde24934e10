// VMCBs for people: every field by its name, as the manual spells it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nestbed::svm {

using VmcbBytes = std::array<std::byte, 4096>;

struct VmcbField {
    std::string_view name;
    std::uint16_t offset = 0;
    std::uint8_t bytes = 0; // 1, 2, 4 or 8
};

// In the order of their offsets; they do not overlap.
[[nodiscard]] std::span<const VmcbField> vmcb_fields();

[[nodiscard]] std::uint64_t read_field(const VmcbBytes& vmcb, const VmcbField& field);

// "VMEXIT_CPUID (0x72)"; "0x1234" where the manual has no such code.
[[nodiscard]] std::string exit_code_text(std::uint64_t code);

// What an interception vector's, an event's or a control field's value means: "CPUID, VMRUN"; empty where
// the number says it all.
[[nodiscard]] std::string meaning(const VmcbField& field, std::uint64_t value);

// One line for each field that is not zero in one of the two: name, what was written, and what it was
// afterwards where that differs.
[[nodiscard]] std::vector<std::string> describe_vmcbs(const VmcbBytes& written, const VmcbBytes& after);

} // namespace nestbed::svm
