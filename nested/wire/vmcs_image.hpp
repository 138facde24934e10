// A VMCS in a conformance report, whose own format is the processor's secret: fields as VMREAD gives them.
// Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::nested::wire {

struct VmcsEntry {
    std::uint32_t encoding;
    std::uint32_t present; // 0 ends the list
    std::uint64_t value;
};

inline constexpr std::uint32_t most_vmcs_entries = 256;

// In Report::written and Report::after.
struct VmcsImage {
    VmcsEntry entries[most_vmcs_entries];
};
static_assert(sizeof(VmcsImage) == 4096);

} // namespace nestbed::nested::wire
