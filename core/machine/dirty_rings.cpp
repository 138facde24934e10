#include "core/machine/dirty_rings.hpp"

#include <utility>

namespace nestbed::machine {

Status DirtyRings::enable() const {
    const auto bytes = std::uint64_t{_entries} * sizeof(kvm_dirty_gfn);
    // x86 needs no acquire and release semantics of the flags, so kernels from 5.11 on do, which know only
    // the first.
    const auto most = _vm.check_extension(KVM_CAP_DIRTY_LOG_RING);
    if (most <= 0 || bytes > static_cast<std::uint64_t>(most))
        return fail(ErrorKind::host_lacks, "collect written pages by dirty rings",
                    most <= 0 ? "this KVM has no KVM_CAP_DIRTY_LOG_RING" : "this KVM's rings are smaller",
                    "use Linux 5.11 or newer");
    return _vm.enable_cap(KVM_CAP_DIRTY_LOG_RING, "KVM_CAP_DIRTY_LOG_RING", bytes);
}

Status DirtyRings::attach(const kvm::Vcpu& vcpu) {
    return vcpu.map_dirty_ring(_entries).map([&](kvm::DirtyRing ring) {
        const std::lock_guard lock{_mutex};
        _rings.push_back(std::move(ring));
    });
}

Status DirtyRings::collect() {
    const std::lock_guard lock{_mutex};
    for (auto& ring : _rings)
        ring.collect(_collected);
    return _vm.reset_dirty_rings().map([](int) {});
}

Status DirtyRings::make_room() {
    _full.fetch_add(1, std::memory_order_relaxed);
    return collect();
}

std::vector<kvm::DirtyPage> DirtyRings::take() {
    const std::lock_guard lock{_mutex};
    return std::exchange(_collected, {});
}

} // namespace nestbed::machine
