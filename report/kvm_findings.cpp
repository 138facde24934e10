#include "report/kvm_findings.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <linux/kvm.h>

#include <fmt/format.h>

namespace nestbed::report {

namespace {

// 0 for what KVM does not know, as KVM_CHECK_EXTENSION answers.
std::int64_t capability(const HostFacts& facts, const std::string& name) {
    const auto found = facts.kvm_capabilities.find(name);
    return found == facts.kvm_capabilities.end() ? 0 : found->second;
}

std::string load_command(const HostFacts& facts) {
    const bool is_intel = facts.cpu_model.find("Intel") != std::string::npos;
    return fmt::format("sudo modprobe {}", is_intel ? "kvm_intel" : "kvm_amd");
}

std::string remedy_for(const Error& error, const HostFacts& facts) {
    // errno_text() names the number: "Permission denied (EACCES)".
    const auto is = [&](std::string_view name) { return error.found.find(name) != std::string::npos; };
    // With the module in place it is the node that lacks, as in a container or a bare chroot
    // (Documentation/admin-guide/devices.txt: 10 char, 232 = /dev/kvm).
    if (is("(ENOENT)") && !facts.kvm_module.empty())
        return "sudo mknod -m 660 /dev/kvm c 10 232";
    if (is("(ENOENT)") || is("(ENODEV)") || is("(ENXIO)"))
        return load_command(facts);
    if (is("(EACCES)") || is("(EPERM)"))
        return "sudo usermod -aG kvm $USER && newgrp kvm";
    return error.remedy.empty() ? "sudo dmesg | grep -i kvm" : error.remedy;
}

HostFinding judge_device(const HostState& state) {
    HostFinding finding{.name = "/dev/kvm",
                        .level = Level::ok,
                        .needed_by = NeededBy::every_guest,
                        .asked = fmt::format("API version {}", KVM_API_VERSION),
                        .found = "usable",
                        .remedy = {}};
    if (state.kvm_error) {
        finding.level = Level::missing;
        finding.found = state.kvm_error->found;
        finding.remedy = remedy_for(*state.kvm_error, state.facts);
    }
    return finding;
}

// The vendor module's parameters that decide how guests run; the whole list is in the JSON.
std::string notable_parameters(const HostFacts& facts) {
    constexpr std::array<std::string_view, 9> notable{
        "nested", "ept",  "npt",     "unrestricted_guest", "enable_apicv",
        "avic",   "vpid", "ple_gap", "pause_filter_count"};
    std::string text;
    for (const auto name : notable) {
        const auto found = facts.module_parameters.find(fmt::format("{}.{}", facts.kvm_module, name));
        if (found != facts.module_parameters.end())
            text += fmt::format(" {}={}", name, found->second);
    }
    return text;
}

HostFinding judge_module(const HostState& state) {
    const auto& facts = state.facts;
    HostFinding finding{.name = "KVM module",
                        .level = Level::ok,
                        .needed_by = NeededBy::an_option,
                        .asked = "a vendor module",
                        .found = facts.kvm_module + notable_parameters(facts),
                        .remedy = {}};
    if (!facts.kvm_module.empty())
        return finding;
    if (!state.kvm_error) {
        finding.found = "not known: /sys/module names none";
        return finding;
    }
    finding.level = Level::falls_short;
    finding.found = "none is loaded";
    finding.remedy = load_command(facts);
    return finding;
}

HostFinding judge_most_vcpus(const HostFacts& facts, std::uint32_t vcpus) {
    const auto most = capability(facts, "KVM_CAP_MAX_VCPUS");
    HostFinding finding{.name = "max vCPUs",
                        .level = Level::ok,
                        .needed_by = NeededBy::every_guest,
                        .asked = fmt::format("{}", vcpus),
                        .found =
                            fmt::format("{}, {} recommended", most, capability(facts, "KVM_CAP_NR_VCPUS")),
                        .remedy = {}};
    if (most >= vcpus)
        return finding;
    finding.level = most > 0 ? Level::falls_short : Level::missing;
    finding.remedy = most > 0 ? fmt::format("nestbed validate --vcpus {}", most)
                              : "use a kernel whose KVM tells KVM_CAP_MAX_VCPUS (Linux 3.2)";
    return finding;
}

// Ids equal APIC ids. Shapes with counts that are no powers of two leave gaps, and need more ids than vCPUs.
HostFinding judge_ids(const HostFacts& facts, std::uint32_t vcpus) {
    const auto told = capability(facts, "KVM_CAP_MAX_VCPU_ID");
    // Documentation/virt/kvm/api.rst, 4.7: as many ids as vCPUs where the capability is not there.
    const auto ids = told > 0 ? told : capability(facts, "KVM_CAP_MAX_VCPUS");
    const bool enough = ids >= vcpus;
    return {.name = "vCPU ids",
            .level = enough ? Level::ok : Level::falls_short,
            .needed_by = NeededBy::every_guest,
            .asked = fmt::format("{}, more for odd topologies", vcpus),
            .found = fmt::format("{}", ids),
            .remedy =
                enough ? std::string{} : fmt::format("nestbed validate --vcpus {} --topology {}", ids, ids)};
}

struct NeededCapability {
    std::string name;
    std::string capability;
    std::int64_t bits = 0; // all of these; 0: any value that is not 0
    std::string_view since;
};

HostFinding judge_capability(const HostFacts& facts, const NeededCapability& needed) {
    const auto value = capability(facts, needed.capability);
    const bool there = needed.bits == 0 ? value != 0 : (value & needed.bits) == needed.bits;
    return {.name = needed.name,
            .level = there ? Level::ok : Level::missing,
            .needed_by = NeededBy::every_guest,
            .asked = needed.capability,
            .found = there        ? "there"
                     : value == 0 ? "not there"
                                  : fmt::format("only flags {:#x}", value),
            .remedy = there ? std::string{} : fmt::format("boot Linux {} or newer", needed.since)};
}

std::vector<NeededCapability> needed_capabilities() {
    return {
        {"split irqchip", "KVM_CAP_SPLIT_IRQCHIP", 0, "4.4"},
        {"x2APIC ids", "KVM_CAP_X2APIC_API",
         KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, "4.7"},
        {"immediate exit", "KVM_CAP_IMMEDIATE_EXIT", 0, "4.13"},
        {"MSI by ioctl", "KVM_CAP_SIGNAL_MSI", 0, "3.5"},
        {"doorbells", "KVM_CAP_IOEVENTFD", 0, "2.6.32"},
    };
}

} // namespace

std::vector<HostFinding> judge_kvm(const HostState& state, std::uint32_t vcpus) {
    std::vector<HostFinding> findings{judge_device(state), judge_module(state)};
    if (state.kvm_error)
        return findings;
    findings.push_back(judge_most_vcpus(state.facts, vcpus));
    findings.push_back(judge_ids(state.facts, vcpus));
    for (const auto& needed : needed_capabilities())
        findings.push_back(judge_capability(state.facts, needed));
    return findings;
}

} // namespace nestbed::report
