// The way from what a user asks for to a machine, the same for every command that makes one.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "core/boot/payload.hpp"
#include "core/kvm/kvm.hpp"
#include "core/machine/machine.hpp"
#include "nested/profile.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::stress {

struct MachineRequest {
    std::optional<std::uint32_t> vcpus;        // empty: default_vcpus, or what the shape multiplies out to
    bool all_vcpus = false;                    // as many as KVM allows
    std::optional<std::uint64_t> memory_bytes; // empty: what the vCPUs need
    topology::Policy policy = topology::Policy::numa;
    topology::PageSize page_size = topology::PageSize::base;
    std::optional<topology::Shape> shape; // empty: derived from the placement
    bool flat_shape = false;              // one socket of single-threaded cores; then `shape` is empty
    bool lying_shape = false;             // see PlanRequest::lying
    nested::Profile nested;
};

inline constexpr std::uint32_t default_vcpus = 288;

// Fills in what was not asked for. `most_vcpus` is what KVM allows: what is asked for may exceed it, what
// is chosen here does not.
[[nodiscard]] topology::PlanRequest plan_request(const MachineRequest& request, std::uint32_t most_vcpus);

// Either may be had without the other, and is worth telling of then.
struct HostSeen {
    Result<topology::Host> host;
    Result<kvm::Kvm> kvm;
};

[[nodiscard]] HostSeen look_at_host();

// What a machine is made of; outlives it.
struct Setup {
    kvm::Kvm kvm;
    boot::Payload payload;
    topology::Plan plan;
    nested::Shown shown;
};

// Errors: of what could not be seen, and those of nested::resolve() and topology::plan().
[[nodiscard]] Result<Setup> set_up(const MachineRequest& request, HostSeen seen);

// Errors: those of machine::Machine::create().
[[nodiscard]] Result<machine::MachinePtr> create_machine(const Setup& setup,
                                                         supervise::Supervisor& supervisor);

} // namespace nestbed::stress
