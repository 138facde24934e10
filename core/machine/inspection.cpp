#include "core/machine/inspection.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/machine/guest_text.hpp"

namespace nestbed::machine {

Result<topology::Observation> observe(const VcpuThreads& threads, const GuestMemory& memory,
                                      topology::PageSize page_size) {
    topology::Observation observation;
    for (std::uint32_t vcpu = 0; vcpu < threads.size(); ++vcpu) {
        auto thread = topology::observe_thread(vcpu, threads[vcpu]->tid());
        if (!thread)
            return tl::unexpected{thread.error()};
        observation.threads.push_back(std::move(*thread));
    }
    for (const auto& region : memory.regions()) {
        auto pages = topology::observe_memory(region.range.virtual_node, region.host, region.range.bytes,
                                              topology::bytes_of(page_size));
        if (!pages)
            return tl::unexpected{pages.error()};
        observation.memory.push_back(std::move(*pages));
    }
    return observation;
}

MachineStatistics
statistics_of(const kvm::Vm& vm, const kvm::VcpuStatisticsLayout& layout, const VcpuThreads& threads,
              const std::function<std::vector<std::uint64_t>(const VcpuThread&)>& words_of) {
    MachineStatistics statistics;
    for (const auto& thread : threads)
        statistics.vcpus.push_back(words_of(*thread));
    const auto* const known = layout.known();
    if (known == nullptr)
        return {};
    statistics.entries = known->entries;
    if (const auto fd = vm.stats_fd()) {
        if (const auto vm_layout = kvm::read_statistics_layout(fd->get())) {
            statistics.vm_entries = vm_layout->entries;
            statistics.vm =
                kvm::read_statistics(fd->get(), *vm_layout).value_or(std::vector<std::uint64_t>{});
        }
    }
    return statistics;
}

std::vector<std::string> describe_suspects(const std::vector<std::uint32_t>& suspects,
                                           const topology::Plan& plan, const VcpuThreads& threads,
                                           const GuestLink& guest) {
    std::vector<std::string> lines;
    constexpr std::size_t most = 8;
    for (std::size_t i = 0; i < std::min(suspects.size(), most); ++i) {
        const auto vcpu = suspects[i];
        if (const auto& snapshot = threads[vcpu]->snapshot())
            for (auto& line : describe_snapshot(vcpu, plan.vcpus[vcpu].apic_id, *snapshot))
                lines.push_back(std::move(line));
        if (const auto report = guest.exception(vcpu))
            lines.push_back(fmt::format("vCPU {}: {}", vcpu, describe_exception(*report)));
    }
    if (suspects.size() > most)
        lines.push_back(fmt::format("and {} more: {}", suspects.size() - most, vcpu_list(suspects)));
    return lines;
}

std::vector<std::string> describe_busy(const topology::Plan& plan, const VcpuThreads& threads) {
    std::vector<std::string> lines;
    std::vector<std::uint32_t> unsaid;
    constexpr std::size_t most = 4;
    std::size_t said = 0;
    for (std::uint32_t vcpu = 0; vcpu < threads.size(); ++vcpu) {
        const auto& snapshot = threads[vcpu]->snapshot();
        if (!snapshot || (vcpu != 0 && snapshot->mp_state != KVM_MP_STATE_RUNNABLE))
            continue;
        if (said == most) {
            unsaid.push_back(vcpu);
            continue;
        }
        ++said;
        for (auto& line : describe_snapshot(vcpu, plan.vcpus[vcpu].apic_id, *snapshot))
            lines.push_back(std::move(line));
    }
    if (!unsaid.empty())
        lines.push_back(fmt::format("and {} more that run: {}", unsaid.size(), vcpu_list(unsaid)));
    return lines;
}

std::vector<std::string> describe_log(const GuestLink& guest) {
    std::vector<std::string> lines;
    for (const auto& line : guest.last_lines())
        lines.push_back("logged by " + line);
    if (const auto dropped = guest.dropped_lines(); dropped != 0)
        lines.push_back(fmt::format("and {} lines that found no room in the ring", dropped));
    return lines;
}

} // namespace nestbed::machine
