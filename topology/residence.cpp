#include "topology/residence.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/ranges.hpp"

namespace nestbed::topology {

namespace {

std::vector<std::uint32_t> sorted(std::vector<std::uint32_t> numbers) {
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

std::string pus_text(const std::vector<std::uint32_t>& pus) {
    return fmt::format("PU{} {}", pus.size() == 1 ? "" : "s", format_ranges(pus));
}

// A thread that slept all the while is where it was, and tells nothing new.
bool has_run(const std::optional<ThreadSample>& before, const ThreadSample& now) {
    if (!before || !before->times || !now.times)
        return true;
    return now.times->run != before->times->run || now.processor != before->processor;
}

void add_thread_drift(std::vector<Drift>& drifts, std::size_t vcpu, const MachineRecord::Thread& planned,
                      const VcpuResidence& seen) {
    if (planned.pus.empty())
        return;
    const auto pus = sorted(planned.pus);
    std::uint64_t all = 0, elsewhere = 0;
    std::vector<std::uint32_t> strange;
    for (const auto& [pu, samples] : seen.ran_on) {
        all += samples;
        if (!std::binary_search(pus.begin(), pus.end(), pu)) {
            elsewhere += samples;
            strange.push_back(pu);
        }
    }
    if (elsewhere > 0)
        drifts.push_back({.what = fmt::format("vCPU {}: where its thread ran", vcpu),
                          .planned = pus_text(pus),
                          .found = fmt::format("{} in {} of {} samples", pus_text(strange), elsewhere, all)});
    if (!seen.strange_affinity.empty())
        drifts.push_back({.what = fmt::format("vCPU {}: affinity of its thread", vcpu),
                          .planned = pus_text(pus),
                          .found = pus_text(seen.strange_affinity)});
}

} // namespace

std::uint64_t migrations_of(const VcpuResidence& residence) {
    const auto &first = residence.first, &last = residence.last;
    if (first && last && first->migrations && last->migrations && *last->migrations >= *first->migrations)
        return *last->migrations - *first->migrations;
    return residence.moves_seen;
}

SchedulerTimes times_of(const VcpuResidence& residence) {
    const auto &first = residence.first, &last = residence.last;
    if (!first || !last || !first->times || !last->times)
        return {};
    return {.run = last->times->run - std::min(first->times->run, last->times->run),
            .wait = last->times->wait - std::min(first->times->wait, last->times->wait)};
}

VcpuResidence add_sample(VcpuResidence so_far, const MachineRecord::Thread& planned, ThreadSample sample) {
    ++so_far.samples;
    if (sample.processor && has_run(so_far.last, sample))
        ++so_far.ran_on[*sample.processor];
    if (so_far.last && so_far.last->processor && sample.processor &&
        *so_far.last->processor != *sample.processor)
        ++so_far.moves_seen;
    if (!planned.pus.empty() && !sample.affinity.empty() && sample.affinity != sorted(planned.pus))
        so_far.strange_affinity = sample.affinity;
    // Not in each sample, since the kernel takes long to write it.
    if (!sample.migrations && so_far.last)
        sample.migrations = so_far.last->migrations;
    if (!so_far.first)
        so_far.first = sample;
    so_far.last = std::move(sample);
    return so_far;
}

std::vector<Drift> drift_of(const MachineRecord& planned, std::span<const VcpuResidence> vcpus,
                            std::span<const ObservedMemory> memory) {
    std::vector<Drift> drifts;
    for (std::size_t vcpu = 0; vcpu < std::min(vcpus.size(), planned.threads.size()); ++vcpu)
        add_thread_drift(drifts, vcpu, planned.threads[vcpu], vcpus[vcpu]);
    for (std::uint32_t node = 0; node < planned.host_nodes.size(); ++node) {
        const auto host_node = planned.host_nodes[node];
        std::uint64_t present = 0, elsewhere = 0;
        std::vector<std::uint32_t> strange;
        for (const auto& seen : memory) {
            if (!host_node || seen.virtual_node != node)
                continue;
            for (const auto& [where, pages] : seen.pages) {
                if (where < 0) // -errno: not present
                    continue;
                present += pages;
                if (static_cast<std::uint32_t>(where) != *host_node && pages > 0) {
                    elsewhere += pages;
                    strange.push_back(static_cast<std::uint32_t>(where));
                }
            }
        }
        if (elsewhere == 0)
            continue;
        strange = sorted(std::move(strange));
        strange.erase(std::unique(strange.begin(), strange.end()), strange.end());
        drifts.push_back(
            {.what = fmt::format("virtual node {}: its memory", node),
             .planned = fmt::format("host node {}", *host_node),
             .found = fmt::format("{} of {} pages looked at on host node{} {}", elsewhere, present,
                                  strange.size() == 1 ? "" : "s", format_ranges(strange))});
    }
    return drifts;
}

} // namespace nestbed::topology
