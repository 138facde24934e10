// The ring in which KVM tells which pages a vCPU has written (Documentation/virt/kvm/api.rst,
// KVM_CAP_DIRTY_LOG_RING).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <linux/kvm.h>

#include "base/error.hpp"

namespace nestbed::kvm {

// KVM ends a KVM_RUN with KVM_EXIT_DIRTY_RING_FULL before a ring overflows, for which it reserves some
// entries.
inline constexpr std::uint32_t least_dirty_ring_entries = 1024;

// One page: bits 15:0 of `slot` are the memory slot, bits 31:16 its address space, `offset` counts pages of 4
// KiB from the slot's begin.
struct DirtyPage {
    std::uint32_t slot = 0;
    std::uint64_t offset = 0;

    bool operator==(const DirtyPage&) const = default;
};

class DirtyRing {
public:
    // Maps the ring of a vCPU; `entries` is a power of two. Errors: host_lacks.
    [[nodiscard]] static Result<DirtyRing> map(int vcpu_fd, std::uint32_t entries);

    DirtyRing(DirtyRing&& other) noexcept;
    DirtyRing& operator=(DirtyRing&& other) noexcept;
    DirtyRing(const DirtyRing&) = delete;
    DirtyRing& operator=(const DirtyRing&) = delete;
    ~DirtyRing();

    // Appends the pages that KVM has put there since the last call, oldest first, and marks them as
    // collected; their entries are free, and the pages watched, once Vm::reset_dirty_rings() was called. Any
    // thread, also while the vCPU runs, one at a time.
    void collect(std::vector<DirtyPage>& into);

private:
    DirtyRing(kvm_dirty_gfn* entries, std::uint32_t count) : _entries{entries}, _count{count} {}

    kvm_dirty_gfn* _entries = nullptr;
    std::uint32_t _count = 0;
    std::uint32_t _next = 0; // that KVM writes, or has written
};

} // namespace nestbed::kvm
