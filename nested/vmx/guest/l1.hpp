// What makes a vCPU a VMX host: IA32_FEATURE_CONTROL, CR4.VMXE, its VMXON region; and what its VMX can do.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

// Enters VMX operation on the calling vCPU (SDM volume 3, "Enabling and Entering VMX Operation"). May be
// called again. Where firmware has locked VMX off the test is not applicable.
void enable();

// enable() without VMXON: feature control and control registers.
void prepare();

// A zeroed page with VMCS revision identifier in its first four bytes, for VMXON or a VMCS.
void* make_region();

// This vCPU's; null before enable().
void* vmxon_region();

// In L1; the value may be one that raises #GP.
void write_cr0(std::uint64_t value);
void write_cr4(std::uint64_t value);

// VMX capability MSRs (SDM volume 3, appendix A).
std::uint32_t revision_identifier();
unsigned physical_address_bits();
struct Allowed {
    std::uint32_t zero; // bits that must be 1
    std::uint32_t one;  // bits that may be 1
    [[nodiscard]] constexpr bool may_set(std::uint32_t bits) const { return (one & bits) == bits; }
    [[nodiscard]] constexpr bool may_clear(std::uint32_t bits) const { return (zero & bits) == 0; }
    // The nearest that is allowed.
    [[nodiscard]] constexpr std::uint32_t adjust(std::uint32_t wanted) const { return (wanted | zero) & one; }
};
// The true ones where VMX has them.
Allowed allowed_pin_based();
Allowed allowed_primary();
Allowed allowed_secondary(); // all zero without secondary controls
Allowed allowed_exit();
Allowed allowed_entry();
std::uint64_t ept_vpid_capabilities(); // 0 without EPT and VPID
std::uint64_t miscellaneous();

} // namespace nestbed::vmx
