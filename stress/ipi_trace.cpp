#include "stress/ipi_trace.hpp"

#include <algorithm>
#include <bit>

namespace nestbed::stress {

namespace {

namespace trace = wire::ipi_trace;

// A timeline of more is slow to look at, and this is 3 MiB of guest memory.
constexpr std::uint64_t most_of_all = 128 * 1024;

} // namespace

std::uint64_t ipi_ring_entries(std::uint32_t vcpus) {
    return std::clamp<std::uint64_t>(std::bit_floor(most_of_all / std::max(vcpus, 1U)), 1,
                                     trace::most_entries);
}

Result<IpiRings> place_ipi_rings(Scratch& scratch, const machine::Machine& machine) {
    IpiRings rings{.address = 0, .vcpus = machine.vcpus(), .entries = ipi_ring_entries(machine.vcpus())};
    const auto placed = scratch.table<std::byte>(rings.vcpus * rings.bytes_each());
    if (!placed)
        return tl::unexpected{placed.error()};
    rings.address = placed->address;
    for (std::uint32_t vcpu = 0; vcpu < rings.vcpus; ++vcpu)
        machine.memory().object<trace::Ring>(rings.of(vcpu))->mask = rings.entries - 1;
    return rings;
}

KeptIpis read_ipi_ring(std::uint64_t written, std::span<const trace::Ipi> slots, std::uint32_t vcpus) {
    KeptIpis kept;
    const auto count = std::min<std::uint64_t>(written, slots.size());
    for (auto i = written - count; i < written; ++i) {
        const auto ipi = slots[i % slots.size()];
        if (ipi.sender >= vcpus || ipi.receiver >= vcpus || ipi.sender == ipi.receiver ||
            ipi.taken < ipi.sent)
            ++kept.wrong;
        else
            kept.ipis.push_back(ipi);
    }
    return kept;
}

KeptIpis read_ipi_rings(const machine::GuestMemory& memory, const IpiRings& rings) {
    KeptIpis all;
    for (std::uint32_t vcpu = 0; vcpu < rings.vcpus && rings.address != 0; ++vcpu) {
        const auto* const ring = memory.object<trace::Ring>(rings.of(vcpu));
        const auto* const slots =
            memory.object<trace::Ipi>(rings.of(vcpu) + sizeof(trace::Ring), rings.entries);
        if (ring == nullptr || slots == nullptr)
            continue;
        auto kept = read_ipi_ring(ring->written, {slots, rings.entries}, rings.vcpus);
        std::ranges::copy(kept.ipis, std::back_inserter(all.ipis));
        all.wrong += kept.wrong;
    }
    return all;
}

std::vector<TimedIpi> timed(std::span<const trace::Ipi> ipis, const machine::TscClock& clock) {
    std::vector<TimedIpi> all;
    for (const auto& ipi : ipis)
        if (const auto sent = clock.time_of(ipi.sent), taken = clock.time_of(ipi.taken); sent && taken)
            all.push_back({ipi.sender, ipi.receiver, *sent, *taken});
    return all;
}

} // namespace nestbed::stress
