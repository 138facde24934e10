// IPIs that the guest kept for a timeline: where, and what the host makes of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/machine/tsc_clock.hpp"
#include "stress/driver.hpp"
#include "stress/wire/ipi_trace.hpp"

namespace nestbed::stress {

// A ring for each vCPU, one after the other in guest memory.
struct IpiRings {
    std::uint64_t address = 0; // guest-physical; 0: none are kept
    std::uint32_t vcpus = 0;
    std::uint64_t entries = 0; // of each

    [[nodiscard]] std::uint64_t bytes_each() const { return wire::ipi_trace::ring_bytes(entries); }
    // 0 where none are kept.
    [[nodiscard]] std::uint64_t of(std::uint32_t vcpu) const {
        return address == 0 ? 0 : address + vcpu * bytes_each();
    }
};

// The entries of each of so many rings: as many as all of them together have at most, and each.
[[nodiscard]] std::uint64_t ipi_ring_entries(std::uint32_t vcpus);

// Errors: bad_input when the guest has too little memory.
[[nodiscard]] Result<IpiRings> place_ipi_rings(Scratch& scratch, const machine::Machine& machine);

struct KeptIpis {
    std::vector<wire::ipi_trace::Ipi> ipis; // ring by ring, oldest first
    std::uint64_t wrong = 0; // that cannot be: a vCPU that there is not, or taken before they were sent
};

// Of one ring, as the guest left it. `slots` are those of the ring, `written` what it says.
[[nodiscard]] KeptIpis read_ipi_ring(std::uint64_t written, std::span<const wire::ipi_trace::Ipi> slots,
                                     std::uint32_t vcpus);

// Of all rings, in the memory of a machine that has stopped.
[[nodiscard]] KeptIpis read_ipi_rings(const machine::GuestMemory& memory, const IpiRings& rings);

struct TimedIpi {
    std::uint32_t sender = 0;
    std::uint32_t receiver = 0;
    std::chrono::steady_clock::time_point sent;
    std::chrono::steady_clock::time_point taken;
};

// Leaves out those outside the time that the clock knows.
[[nodiscard]] std::vector<TimedIpi> timed(std::span<const wire::ipi_trace::Ipi> ipis,
                                          const machine::TscClock& clock);

} // namespace nestbed::stress
