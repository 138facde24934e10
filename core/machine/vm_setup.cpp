#include "core/machine/vm_setup.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <linux/kvm.h>

#include <fmt/format.h>

#include "core/kvm/abi.hpp"

namespace nestbed::machine {

namespace {

// Below the firmware's place, above the APICs: outside RAM, inside the hole of core/boot/ram.hpp.
constexpr std::uint64_t tss_address = 0xfffb'd000;
constexpr std::uint64_t identity_map_address = 0xfffb'c000;

// Twice those of the I/O APIC: KVM tells of an EOI where one of these routes has the vector and the CPU, and
// an interrupt that is in service keeps its old one while the pin has a new one.
constexpr std::uint64_t ioapic_pins = 48;

struct NeededCap {
    int number;
    std::string_view name;
    std::string_view since;
};

constexpr std::array needed_caps{
    NeededCap{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", "4.4"},
    NeededCap{KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API", "4.7"},
    NeededCap{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "4.13"},
    NeededCap{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "3.5"},
    NeededCap{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "2.6.32"},
};

} // namespace

Status check_kvm_limits(const kvm::Kvm& kvm, const topology::Plan& plan) {
    for (const auto& cap : needed_caps)
        if (kvm.check_extension(cap.number) == 0)
            return fail(ErrorKind::host_lacks, "use this host's KVM", fmt::format("it has no {}", cap.name),
                        fmt::format("use Linux {} or newer", cap.since));
    const auto vcpus = plan.vcpus.size();
    const auto most = static_cast<std::size_t>(kvm.check_extension(KVM_CAP_MAX_VCPUS));
    if (vcpus > most)
        return fail(ErrorKind::host_lacks, fmt::format("run {} vCPUs", vcpus),
                    fmt::format("this KVM allows {} (KVM_CAP_MAX_VCPUS)", most),
                    fmt::format("use --vcpus {}", most));
    const auto ids = static_cast<std::uint64_t>(kvm.check_extension(KVM_CAP_MAX_VCPU_ID));
    const auto largest = topology::max_apic_id(plan.shape);
    if (ids != 0 && largest >= ids)
        return fail(ErrorKind::host_lacks,
                    fmt::format("show the topology {}", topology::format_shape(plan.shape)),
                    fmt::format("its APIC ids reach {}, this KVM allows ids below {} (KVM_CAP_MAX_VCPU_ID)",
                                largest, ids),
                    "use counts that are powers of two, or fewer levels (--topology)");
    return {};
}

Status configure_vm(const kvm::Vm& vm, std::uint32_t max_apic_id) {
    if (auto set = vm.set_identity_map_address(identity_map_address); !set)
        return set;
    if (auto set = vm.set_tss_address(tss_address); !set)
        return set;
    // Lets KVM size its tables for this machine instead of for the largest one (Linux 6.0).
    if (vm.check_extension(KVM_CAP_MAX_VCPU_ID) != 0) {
        // Older kernels know the capability as a limit only and refuse to have it set; their tables are large
        // enough.
        [[maybe_unused]] const auto sized =
            vm.enable_cap(KVM_CAP_MAX_VCPU_ID, "KVM_CAP_MAX_VCPU_ID", std::uint64_t{max_apic_id} + 1);
    }
    if (auto set = vm.enable_cap(KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", ioapic_pins); !set)
        return set;
    return vm.enable_cap(KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API",
                         KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
}

std::vector<core::cpu::MsrValue> capabilities_without(const kvm::Kvm& kvm,
                                                      const std::vector<core::cpu::MsrValue>& hidden) {
    std::vector<core::cpu::MsrValue> offered;
    for (const auto& bits : hidden)
        if (const auto value = kvm.feature_msr(bits.index))
            offered.push_back({.index = bits.index, .value = *value});
    return core::cpu::without_bits(offered, hidden);
}

std::optional<StateLayout> state_layout(const kvm::Kvm& kvm, const kvm::Vm& vm) {
    const auto nested = vm.check_extension(KVM_CAP_NESTED_STATE);
    auto msrs = kvm.state_msrs();
    if (nested < static_cast<int>(sizeof(kvm::abi::NestedStateHeader)) || !msrs)
        return std::nullopt;
    const auto xsave = vm.check_extension(KVM_CAP_XSAVE2);
    return StateLayout{
        .msrs = std::move(*msrs),
        .nested_bytes = static_cast<std::size_t>(nested),
        .xsave_bytes = std::max(static_cast<std::size_t>(std::max(xsave, 0)), sizeof(kvm::abi::XsaveArea)),
        .sregs2 = vm.check_extension(KVM_CAP_SREGS2) > 0};
}

} // namespace nestbed::machine
