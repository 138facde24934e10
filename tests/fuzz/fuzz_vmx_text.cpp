// Any bytes as a VMCS's fields and as capability MSRs: there is a line for each field, and nothing reads past
// a table.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "nested/vmx/exit_text.hpp"
#include "nested/vmx/features.hpp"
#include "nested/vmx/vmcs_text.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nestbed::vmx;
    constexpr std::size_t pair = 12; // encoding or index, value
    std::vector<FieldValue> vmcs;
    Capabilities capabilities;
    for (std::size_t at = 0; at + pair <= size; at += pair) {
        std::uint32_t number = 0;
        std::uint64_t value = 0;
        std::memcpy(&number, data + at, sizeof number);
        std::memcpy(&value, data + at + sizeof number, sizeof value);
        // Most of 32 bits are no field; the other half of the time look at those that can be one.
        vmcs.push_back({(value & 1) != 0 ? number & 0x6fff : number, value});
        capabilities.push_back({.index = 0x480 + number % 0x14, .value = value});
        require(!exit_reason_text(number).empty());
        require(!field_text(number).empty());
        static_cast<void>(qualification_text(number, value, number));
        static_cast<void>(instruction_information_text(number, static_cast<std::uint32_t>(value)));
    }
    const auto lines = describe_vmcs(vmcs);
    require(lines.size() >= vmcs.size() && lines.size() <= vmcs.size() + 4);
    for (const auto& group : groups())
        for (const auto& bit : group.bits)
            static_cast<void>(allowed(capabilities, group, bit));
    return 0;
}
