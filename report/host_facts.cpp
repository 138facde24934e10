#include "report/host_facts.hpp"

#include <array>
#include <string_view>
#include <utility>

#include <linux/kvm.h>

#include "base/units.hpp"
#include "report/cpuinfo.hpp"
#include "report/kvm_module.hpp"
#include "report/limits.hpp"
#include "topology/text_file.hpp"

namespace nestbed::report {

namespace {

struct NamedCapability {
    std::string_view name;
    int number = 0;
};

#define NESTBED_CAPABILITY(name)                                                                             \
    NamedCapability {                                                                                        \
#name, name                                                                                          \
    }

// Those that decide what a guest can be, or that explain a difference between two hosts.
constexpr std::array capabilities{
    NESTBED_CAPABILITY(KVM_CAP_IRQCHIP),
    NESTBED_CAPABILITY(KVM_CAP_NR_VCPUS),
    NESTBED_CAPABILITY(KVM_CAP_MAX_VCPUS),
    NESTBED_CAPABILITY(KVM_CAP_MAX_VCPU_ID),
    NESTBED_CAPABILITY(KVM_CAP_NR_MEMSLOTS),
    NESTBED_CAPABILITY(KVM_CAP_MULTI_ADDRESS_SPACE),
    NESTBED_CAPABILITY(KVM_CAP_MP_STATE),
    NESTBED_CAPABILITY(KVM_CAP_SYNC_MMU),
    NESTBED_CAPABILITY(KVM_CAP_READONLY_MEM),
    NESTBED_CAPABILITY(KVM_CAP_COALESCED_MMIO),
    NESTBED_CAPABILITY(KVM_CAP_COALESCED_PIO),
    NESTBED_CAPABILITY(KVM_CAP_IOEVENTFD),
    NESTBED_CAPABILITY(KVM_CAP_IRQFD),
    NESTBED_CAPABILITY(KVM_CAP_IRQ_ROUTING),
    NESTBED_CAPABILITY(KVM_CAP_SIGNAL_MSI),
    NESTBED_CAPABILITY(KVM_CAP_SPLIT_IRQCHIP),
    NESTBED_CAPABILITY(KVM_CAP_X2APIC_API),
    NESTBED_CAPABILITY(KVM_CAP_TSC_CONTROL),
    NESTBED_CAPABILITY(KVM_CAP_VM_TSC_CONTROL),
    NESTBED_CAPABILITY(KVM_CAP_GET_TSC_KHZ),
    NESTBED_CAPABILITY(KVM_CAP_TSC_DEADLINE_TIMER),
    NESTBED_CAPABILITY(KVM_CAP_IMMEDIATE_EXIT),
    NESTBED_CAPABILITY(KVM_CAP_SYNC_REGS),
    NESTBED_CAPABILITY(KVM_CAP_VCPU_EVENTS),
    NESTBED_CAPABILITY(KVM_CAP_XSAVE2),
    NESTBED_CAPABILITY(KVM_CAP_SREGS2),
    NESTBED_CAPABILITY(KVM_CAP_NESTED_STATE),
    NESTBED_CAPABILITY(KVM_CAP_GET_MSR_FEATURES),
    NESTBED_CAPABILITY(KVM_CAP_X86_USER_SPACE_MSR),
    NESTBED_CAPABILITY(KVM_CAP_X86_MSR_FILTER),
    NESTBED_CAPABILITY(KVM_CAP_X86_DISABLE_EXITS),
    NESTBED_CAPABILITY(KVM_CAP_X86_SMM),
    NESTBED_CAPABILITY(KVM_CAP_X86_BUS_LOCK_EXIT),
    NESTBED_CAPABILITY(KVM_CAP_X86_NOTIFY_VMEXIT),
    NESTBED_CAPABILITY(KVM_CAP_X86_TRIPLE_FAULT_EVENT),
    NESTBED_CAPABILITY(KVM_CAP_EXIT_ON_EMULATION_FAILURE),
    NESTBED_CAPABILITY(KVM_CAP_EXCEPTION_PAYLOAD),
    NESTBED_CAPABILITY(KVM_CAP_DISABLE_QUIRKS2),
    NESTBED_CAPABILITY(KVM_CAP_PMU_CAPABILITY),
    NESTBED_CAPABILITY(KVM_CAP_HALT_POLL),
    NESTBED_CAPABILITY(KVM_CAP_HYPERV_CPUID),
    NESTBED_CAPABILITY(KVM_CAP_HYPERV_ENLIGHTENED_VMCS),
    NESTBED_CAPABILITY(KVM_CAP_DIRTY_LOG_RING),
    NESTBED_CAPABILITY(KVM_CAP_DIRTY_LOG_RING_ACQ_REL),
    NESTBED_CAPABILITY(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2),
    NESTBED_CAPABILITY(KVM_CAP_BINARY_STATS_FD),
    // Younger than the oldest kernel headers that this builds with (6.1).
    NamedCapability{"KVM_CAP_USER_MEMORY2", 231},
    NamedCapability{"KVM_CAP_MEMORY_FAULT_INFO", 232},
    NamedCapability{"KVM_CAP_GUEST_MEMFD", 234},
    NamedCapability{"KVM_CAP_PRE_FAULT_MEMORY", 236},
};

#undef NESTBED_CAPABILITY

std::string first_line(const std::filesystem::path& path) {
    const auto text = topology::read_text_file(path, 64 * KiB).value_or("");
    return text.substr(0, text.find('\n'));
}

} // namespace

HostFacts gather_host_facts(const topology::Host* host, const kvm::Kvm* kvm,
                            const std::filesystem::path& sysroot) {
    HostFacts facts;
    facts.kernel = first_line(sysroot / "proc/sys/kernel/osrelease");
    auto cpu = read_cpuinfo(sysroot);
    facts.cpu_model = std::move(cpu.model);
    facts.microcode = std::move(cpu.microcode);
    facts.kvm_module = find_kvm_module(sysroot);
    facts.module_parameters = read_module_parameters(sysroot, "kvm");
    if (!facts.kvm_module.empty())
        facts.module_parameters.merge(read_module_parameters(sysroot, facts.kvm_module));
    if (kvm != nullptr)
        for (const auto& [name, number] : capabilities)
            facts.kvm_capabilities.emplace(name, kvm->check_extension(number));
    facts.limits = read_limits(sysroot);
    if (host != nullptr)
        facts.topology = *host;
    return facts;
}

} // namespace nestbed::report
