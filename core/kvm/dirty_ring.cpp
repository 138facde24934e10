#include "core/kvm/dirty_ring.hpp"

#include <bit>

#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

namespace nestbed::kvm {

Result<DirtyRing> DirtyRing::map(int vcpu_fd, std::uint32_t entries) {
    if (!std::has_single_bit(entries))
        return fail(ErrorKind::bad_input, fmt::format("map a dirty ring of {} entries", entries),
                    "their number is no power of two");
    const auto page = static_cast<off_t>(::sysconf(_SC_PAGESIZE));
    void* const memory = ::mmap(nullptr, entries * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED,
                                vcpu_fd, KVM_DIRTY_LOG_PAGE_OFFSET * page);
    if (memory == MAP_FAILED)
        return fail_errno(ErrorKind::host_lacks,
                          fmt::format("map a vCPU's dirty ring of {} entries", entries));
    return DirtyRing{static_cast<kvm_dirty_gfn*>(memory), entries};
}

DirtyRing::DirtyRing(DirtyRing&& other) noexcept
    : _entries{std::exchange(other._entries, nullptr)}, _count{other._count}, _next{other._next} {}

DirtyRing& DirtyRing::operator=(DirtyRing&& other) noexcept {
    std::swap(_entries, other._entries);
    std::swap(_count, other._count);
    std::swap(_next, other._next);
    return *this;
}

DirtyRing::~DirtyRing() {
    if (_entries != nullptr)
        ::munmap(_entries, _count * sizeof(kvm_dirty_gfn));
}

void DirtyRing::collect(std::vector<DirtyPage>& into) {
    for (std::uint32_t seen = 0; seen < _count; ++seen) {
        auto& entry = _entries[_next % _count];
        // Acquire and release: the rest of an entry is written before its flag, and read before KVM may have
        // it back.
        if ((__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_MASK) != KVM_DIRTY_GFN_F_DIRTY)
            return;
        into.push_back({entry.slot, entry.offset});
        __atomic_store_n(&entry.flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        ++_next;
    }
}

} // namespace nestbed::kvm
