// The dirty rings of all vCPUs of a machine, emptied by whoever comes first: a vCPU whose ring is full, or
// who wants to know.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/error.hpp"
#include "core/kvm/dirty_ring.hpp"
#include "core/kvm/vcpu.hpp"
#include "core/kvm/vm.hpp"

namespace nestbed::machine {

class DirtyRings {
public:
    // The VM outlives it.
    DirtyRings(const kvm::Vm& vm, std::uint32_t entries) : _vm{vm}, _entries{entries} {}

    // Before the first vCPU. Errors: host_lacks.
    [[nodiscard]] Status enable() const;

    // The rest from any thread. Errors: host_lacks.
    [[nodiscard]] Status attach(const kvm::Vcpu& vcpu);
    // Empties all rings and has their pages watched again.
    [[nodiscard]] Status collect();
    // collect(), for a vCPU that left KVM_RUN because its ring is full.
    [[nodiscard]] Status make_room();
    // The pages collected since the last call, some of them several times.
    [[nodiscard]] std::vector<kvm::DirtyPage> take();

    [[nodiscard]] std::uint64_t times_full() const { return _full.load(std::memory_order_relaxed); }

private:
    const kvm::Vm& _vm;
    std::uint32_t _entries;
    std::atomic<std::uint64_t> _full{0};
    std::mutex _mutex; // of what follows
    std::vector<kvm::DirtyRing> _rings;
    std::vector<kvm::DirtyPage> _collected;
};

} // namespace nestbed::machine
