// Entering and leaving VMX operation (SDM volume 3, "Introduction to Virtual Machine Extensions").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint64_t cr4_vmxe = 1U << 13;
constexpr std::uint8_t invalid_opcode = 6;
constexpr std::uint8_t general_protection = 13;

template<typename Body>
void expect_fault(std::uint8_t vector, const char* what, Body body) {
    const auto fault = guest::catch_fault([&] { body(); });
    expect(fault.is(vector), what);
}

// In ring 3 a fault comes back as a value, too.
template<typename Body>
void expect_fault_in_ring_3(std::uint8_t vector, const char* what, Body body) {
    const auto fault = guest::catch_fault(
        [&] { guest::run_in_user_mode([](void* argument) { (*static_cast<Body*>(argument))(); }, &body); });
    expect(fault.is(vector), what);
}

void each_instruction_is_ud(const char* when) {
    auto* const region = make_region();
    const auto at = physical(region);
    std::uint64_t value = 0;
    expect_fault(invalid_opcode, conform::Text{"VMCLEAR is #UD ", when}.c_str(), [&] { vmclear(at); });
    expect_fault(invalid_opcode, conform::Text{"VMPTRLD is #UD ", when}.c_str(), [&] { vmptrld(at); });
    expect_fault(invalid_opcode, conform::Text{"VMPTRST is #UD ", when}.c_str(), [&] { vmptrst(value); });
    expect_fault(invalid_opcode, conform::Text{"VMREAD is #UD ", when}.c_str(), [&] { vmread(0, value); });
    expect_fault(invalid_opcode, conform::Text{"VMWRITE is #UD ", when}.c_str(), [&] { vmwrite(0, value); });
    expect_fault(invalid_opcode, conform::Text{"VMLAUNCH is #UD ", when}.c_str(), [] { vmlaunch(); });
    expect_fault(invalid_opcode, conform::Text{"VMRESUME is #UD ", when}.c_str(), [] { vmresume(); });
    expect_fault(invalid_opcode, conform::Text{"VMXOFF is #UD ", when}.c_str(), [] { vmxoff(); });
    const Descriptor descriptor{};
    expect_fault(invalid_opcode, conform::Text{"INVEPT is #UD ", when}.c_str(),
                 [&] { invept(2, descriptor); });
    expect_fault(invalid_opcode, conform::Text{"INVVPID is #UD ", when}.c_str(),
                 [&] { invvpid(2, descriptor); });
}

} // namespace

VMX_TEST(enable_cpuid, "vmx.enable.cpuid", "CPUID offers VMX, and IA32_VMX_BASIC describes a VMCS",
         "Basic VMX Information", .enable = false) {
    expect_equal(guest::cpuid(1, 0).ecx >> 5 & 1, 1U, "CPUID.1:ECX.VMX");
    const auto basic = guest::rdmsr(msr::vmx_basic);
    expect_equal(basic >> 31 & 1, 0U, "IA32_VMX_BASIC bit 31");
    const auto bytes = basic >> 32 & 0x1fff;
    expect(bytes > 0 && bytes <= 4096, "the size of a VMCS is 1 to 4096 bytes");
    expect_equal(basic >> 50 & 0xf, 6U, "memory type of VMCSs: write-back");
}
VMX_TEST(enable_before, "vmx.enable.ud_before_vmxon", "Outside VMX operation every VMX instruction is #UD",
         "VMX Instruction Reference", .enable = false) {
    prepare();
    each_instruction_is_ud("before VMXON");
}
VMX_TEST(enable_no_vmxe, "vmx.enable.vmxon_without_vmxe", "VMXON with CR4.VMXE=0 is #UD", "VMXON",
         .enable = false) {
    prepare();
    write_cr4(guest::control_register<4>() & ~cr4_vmxe);
    auto* const region = make_region();
    expect_fault(invalid_opcode, "#UD", [&] { vmxon(physical(region)); });
}
VMX_TEST(enable_unlocked, "vmx.enable.vmxon_with_feature_control_unlocked",
         "VMXON is #GP(0) while IA32_FEATURE_CONTROL is not locked", "VMXON", .enable = false) {
    if (guest::rdmsr(msr::feature_control) != 0)
        return conform::not_applicable("firmware has set IA32_FEATURE_CONTROL");
    write_cr4(guest::control_register<4>() | cr4_vmxe);
    auto* const region = make_region();
    expect_fault(general_protection, "#GP", [&] { vmxon(physical(region)); });
    guest::wrmsr(msr::feature_control, msr::feature_control_bit::vmx_outside_smx);
    expect_fault(general_protection, "#GP with the enable bit, not locked", [&] { vmxon(physical(region)); });
}
VMX_TEST(enable_locked_off, "vmx.enable.vmxon_with_feature_control_off",
         "VMXON is #GP(0) where IA32_FEATURE_CONTROL is locked without VMX outside SMX", "VMXON",
         .enable = false) {
    if (guest::rdmsr(msr::feature_control) != 0)
        return conform::not_applicable("firmware has set IA32_FEATURE_CONTROL");
    guest::wrmsr(msr::feature_control, msr::feature_control_bit::lock);
    write_cr4(guest::control_register<4>() | cr4_vmxe);
    auto* const region = make_region();
    expect_fault(general_protection, "#GP", [&] { vmxon(physical(region)); });
}
VMX_TEST(enable_lock, "vmx.enable.feature_control_locked",
         "Once locked, IA32_FEATURE_CONTROL cannot be written", "Restrictions on VMX Operation") {
    const auto before = guest::rdmsr(msr::feature_control);
    expect_fault(general_protection, "WRMSR of another value is #GP", [&] {
        guest::wrmsr(msr::feature_control, before ^ msr::feature_control_bit::vmx_outside_smx);
    });
    expect_equal(guest::rdmsr(msr::feature_control), before, "IA32_FEATURE_CONTROL");
}
VMX_TEST(enable_twice, "vmx.enable.vmxon_twice",
         "VMXON in VMX root operation fails, with error 15 where a VMCS is current", "VMXON") {
    auto* const another = make_region();
    expect_equal(vmxon(physical(another)), Outcome::fail_invalid, "without a current VMCS");
    L2 guest;
    expect_equal(vmxon(physical(another)), Outcome::fail_valid, "with a current VMCS");
    expect_equal(read(Field::instruction_error), static_cast<std::uint64_t>(InstructionError::vmxon_in_root),
                 "VM-instruction error");
}
VMX_TEST(enable_off, "vmx.enable.vmxoff", "After VMXOFF every VMX instruction is #UD and VMXON works again",
         "VMXOFF") {
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    each_instruction_is_ud("after VMXOFF");
    expect_equal(vmxon(physical(vmxon_region())), Outcome::succeed, "VMXON after VMXOFF");
}
VMX_TEST(enable_off_forgets, "vmx.enable.vmxoff_forgets_current_vmcs",
         "No VMCS is current after VMXOFF and VMXON", "VMXON") {
    L2 guest;
    expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
    expect_equal(vmptrld(guest.vmcs_pa()), Outcome::succeed, "VMPTRLD");
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    expect_equal(vmxon(physical(vmxon_region())), Outcome::succeed, "VMXON");
    std::uint64_t pointer = 0;
    expect_equal(vmptrst(pointer), Outcome::succeed, "VMPTRST");
    expect_equal(pointer, ~std::uint64_t{0}, "current-VMCS pointer");
    expect_equal(vmread(static_cast<std::uint32_t>(Field::exit_reason), pointer), Outcome::fail_invalid,
                 "VMREAD");
}

namespace {
template<std::uint64_t bits>
void region_misaligned() {
    prepare();
    auto* const region = make_region();
    expect_equal(vmxon(physical(region) | bits), Outcome::fail_invalid, "VMXON");
    expect_equal(vmxon(physical(region)), Outcome::succeed, "VMXON of the page itself");
}
} // namespace
#define VMXON_ADDRESS(name, bits)                                                                            \
    VMX_CASE(enable_address_##name, "vmx.enable.vmxon_address_" #name,                                       \
             "VMXON of an address with a bit of the offset set fails, nothing is current", "VMXON",          \
             &region_misaligned<bits>, .enable = false)
VMXON_ADDRESS(bit_0, 1)
VMXON_ADDRESS(bit_3, 8)
VMXON_ADDRESS(bit_11, 0x800)

VMX_TEST(enable_address_wide, "vmx.enable.vmxon_address_beyond",
         "VMXON of an address beyond the physical width fails", "VMXON", .enable = false) {
    prepare();
    auto* const region = make_region();
    for (unsigned bit = physical_address_bits(); bit < 64; ++bit)
        expect_equal(vmxon(physical(region) | std::uint64_t{1} << bit), Outcome::fail_invalid,
                     conform::Text{"VMXON with bit ", bit});
}
VMX_TEST(enable_revision, "vmx.enable.vmxon_revision",
         "VMXON of a region with another revision identifier fails", "VMXON", .enable = false) {
    prepare();
    auto* const region = static_cast<std::uint32_t*>(make_region());
    for (const auto wrong : {revision_identifier() ^ 1U, revision_identifier() | 1U << 31, ~0U}) {
        *region = wrong;
        expect_equal(vmxon(physical(region)), Outcome::fail_invalid,
                     conform::Text{"revision ", conform::Hex{wrong}});
    }
}
VMX_TEST(enable_fixed_cr0, "vmx.enable.cr0_fixed",
         "In VMX operation a CR0 bit that is fixed to 1 cannot be cleared", "VMX-Fixed Bits in CR0") {
    const auto must = guest::rdmsr(msr::vmx_cr0_fixed0);
    const auto now = guest::control_register<0>();
    for (unsigned bit = 0; bit < 32; ++bit)
        if ((must >> bit & 1) != 0)
            expect_fault(general_protection, conform::Text{"clearing CR0 bit ", bit}.c_str(),
                         [&] { write_cr0(now & ~(std::uint64_t{1} << bit)); });
    expect_equal(guest::control_register<0>(), now, "CR0");
}
VMX_TEST(enable_fixed_cr4, "vmx.enable.cr4_fixed", "In VMX operation CR4.VMXE cannot be cleared",
         "VMX-Fixed Bits in CR4") {
    const auto must = guest::rdmsr(msr::vmx_cr4_fixed0);
    const auto may = guest::rdmsr(msr::vmx_cr4_fixed1);
    const auto now = guest::control_register<4>();
    expect_equal(must & cr4_vmxe, cr4_vmxe, "IA32_VMX_CR4_FIXED0.VMXE");
    for (unsigned bit = 0; bit < 32; ++bit) {
        if ((must >> bit & 1) != 0)
            expect_fault(general_protection, conform::Text{"clearing CR4 bit ", bit}.c_str(),
                         [&] { write_cr4(now & ~(std::uint64_t{1} << bit)); });
        else if ((may >> bit & 1) == 0)
            expect_fault(general_protection, conform::Text{"setting CR4 bit ", bit}.c_str(),
                         [&] { write_cr4(now | std::uint64_t{1} << bit); });
    }
    expect_equal(guest::control_register<4>(), now, "CR4");
}
VMX_TEST(enable_fixed_consistent, "vmx.enable.fixed_registers_consistent",
         "The fixed bits of CR0 and CR4 do not contradict each other and hold at VMXON", "VMX-Fixed Bits") {
    for (const auto base : {msr::vmx_cr0_fixed0, msr::vmx_cr4_fixed0}) {
        const auto must = guest::rdmsr(base);
        const auto may = guest::rdmsr(base + 1);
        expect_equal(must & ~may, 0U, "bits that must be 1 and may not");
    }
    expect_equal(guest::rdmsr(msr::vmx_cr0_fixed0) & ~guest::control_register<0>(), 0U, "CR0 bits that lack");
}
VMX_TEST(enable_msrs_read_only, "vmx.enable.capability_msrs_read_only",
         "A VMX capability MSR cannot be written", "VMX Capability Reporting Facility") {
    for (std::uint32_t index = msr::vmx_basic; index <= msr::vmx_ept_vpid; ++index) {
        const auto fault = guest::catch_fault([&] { guest::wrmsr(index, guest::rdmsr(index)); });
        expect(fault.is(general_protection), conform::Text{"WRMSR of ", conform::Hex{index}, " is #GP"});
    }
}
VMX_TEST(enable_capabilities, "vmx.enable.capability_msrs_consistent",
         "What must be 1 of the controls may be 1, and the default settings are as the manual has them",
         "VMX Capability Reporting Facility") {
    struct Row {
        std::uint32_t index;
        std::uint32_t default1;
        const char* name;
    };
    for (const auto& row :
         {Row{msr::vmx_pin_based, 0x16, "pin-based"}, Row{msr::vmx_primary, 0x0401'e172, "primary"},
          Row{msr::vmx_exit, 0x0003'6dff, "exit"}, Row{msr::vmx_entry, 0x11ff, "entry"}}) {
        const auto value = guest::rdmsr(row.index);
        const auto zero = static_cast<std::uint32_t>(value);
        const auto one = static_cast<std::uint32_t>(value >> 32);
        expect_equal(zero & ~one, 0U, conform::Text{row.name, ": bits that must be 1 and may not"});
        expect_equal(zero & row.default1, row.default1, conform::Text{row.name, ": the default1 class"});
    }
}
VMX_TEST(enable_ring_3, "vmx.enable.ring_3", "In ring 3 a VMX instruction is #GP(0)",
         "VMX Instruction Reference") {
    L2 guest;
    std::uint64_t value = 0;
    const auto at = guest.vmcs_pa();
    expect_fault_in_ring_3(general_protection, "VMPTRLD", [&] { vmptrld(at); });
    expect_fault_in_ring_3(general_protection, "VMCLEAR", [&] { vmclear(at); });
    expect_fault_in_ring_3(general_protection, "VMPTRST", [&] { vmptrst(value); });
    expect_fault_in_ring_3(general_protection, "VMREAD", [&] { vmread(0x4402, value); });
    expect_fault_in_ring_3(general_protection, "VMWRITE", [&] { vmwrite(0x6400, value); });
    expect_fault_in_ring_3(general_protection, "VMLAUNCH", [] { vmlaunch(); });
    expect_fault_in_ring_3(general_protection, "VMRESUME", [] { vmresume(); });
    expect_fault_in_ring_3(general_protection, "VMXOFF", [] { vmxoff(); });
}
} // namespace nestbed::vmx
