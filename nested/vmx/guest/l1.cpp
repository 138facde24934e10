#include "nested/vmx/guest/l1.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/check.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/instructions.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/vmcs.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::uint64_t cr4_vmxe = 1U << 13;
constexpr std::uint32_t most_vcpus = 4096; // of KVM; the table is in .bss
void* regions[most_vcpus];

Allowed allowed(std::uint32_t index) {
    const auto value = guest::rdmsr(index);
    return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)};
}

bool has_true_controls() {
    return (guest::rdmsr(msr::vmx_basic) >> 55 & 1) != 0;
}

} // namespace

void write_cr0(std::uint64_t value) {
    asm volatile("movq %0, %%cr0" : : "r"(value) : "memory");
}
void write_cr4(std::uint64_t value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

std::uint32_t revision_identifier() {
    return static_cast<std::uint32_t>(guest::rdmsr(msr::vmx_basic)) & 0x7fff'ffff;
}

unsigned physical_address_bits() {
    return guest::cpuid(0x8000'0008, 0).eax & 0xff;
}

Allowed allowed_pin_based() {
    return allowed(has_true_controls() ? msr::vmx_true_pin_based : msr::vmx_pin_based);
}
Allowed allowed_primary() {
    return allowed(has_true_controls() ? msr::vmx_true_primary : msr::vmx_primary);
}
Allowed allowed_secondary() {
    return allowed_primary().may_set(primary::activate_secondary_controls) ? allowed(msr::vmx_secondary)
                                                                           : Allowed{0, 0};
}
Allowed allowed_exit() {
    return allowed(has_true_controls() ? msr::vmx_true_exit : msr::vmx_exit);
}
Allowed allowed_entry() {
    return allowed(has_true_controls() ? msr::vmx_true_entry : msr::vmx_entry);
}
std::uint64_t ept_vpid_capabilities() {
    const auto secondary = allowed_secondary();
    return secondary.may_set(secondary::enable_ept) || secondary.may_set(secondary::enable_vpid)
               ? guest::rdmsr(msr::vmx_ept_vpid)
               : 0;
}
std::uint64_t miscellaneous() {
    return guest::rdmsr(msr::vmx_misc);
}

void* make_region() {
    auto* const region = conform::allocate_pages(1);
    *static_cast<std::uint32_t*>(region) = revision_identifier();
    return region;
}

void* vmxon_region() {
    return regions[guest::this_vcpu().vcpu % most_vcpus];
}

void prepare() {
    using namespace msr::feature_control_bit;
    if ((guest::rdmsr(msr::feature_control) & lock) == 0)
        guest::wrmsr(msr::feature_control, lock | vmx_outside_smx);
    write_cr4(guest::control_register<4>() | cr4_vmxe);
}

void enable() {
    prepare();
    auto& region = regions[guest::this_vcpu().vcpu % most_vcpus];
    if (region != nullptr)
        return;
    region = make_region();
    keep_vmcs_of_failures();
    conform::expect_equal(vmxon(conform::physical(region)), Outcome::succeed, "VMXON");
}

} // namespace nestbed::vmx
