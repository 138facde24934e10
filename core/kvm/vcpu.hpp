// One vCPU: one method per ioctl, no policy. All but run() may be called only while it is not in run().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <linux/kvm.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/kvm/dirty_ring.hpp"

namespace nestbed::kvm {

class Vcpu {
public:
    // Takes the descriptor and maps its kvm_run. Errors: host_lacks when there is no memory.
    [[nodiscard]] static Result<Vcpu> map(Fd fd, std::size_t mmap_size, std::uint32_t apic_id);

    Vcpu(Vcpu&& other) noexcept;
    Vcpu& operator=(Vcpu&& other) noexcept;
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;
    ~Vcpu();

    [[nodiscard]] int fd() const noexcept { return _fd.get(); }
    [[nodiscard]] std::uint32_t apic_id() const noexcept { return _apic_id; }

    // Shared with the kernel, which the guest can make write to it: sizes and offsets in it are checked by
    // the reader. Any thread may set immediate_exit; everything else belongs to the thread in run().
    [[nodiscard]] kvm_run& shared() const noexcept { return *_run; }
    [[nodiscard]] std::size_t shared_bytes() const noexcept { return _mmap_size; }

    // KVM_RUN: 0, or errno (EINTR when kicked). The one call that is made millions of times, so no Result.
    [[nodiscard]] int run() const noexcept;

    [[nodiscard]] Status set_cpuid(std::span<const kvm_cpuid_entry2> entries) const;
    [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> cpuid() const;

    // KVM_SET_MSRS for one register. Errors: host_lacks when KVM refuses the MSR or its value.
    [[nodiscard]] Status set_msr(std::uint32_t index, std::uint64_t value) const;
    [[nodiscard]] Result<std::uint64_t> msr(std::uint32_t index) const;

    [[nodiscard]] Result<kvm_regs> regs() const;
    [[nodiscard]] Status set_regs(const kvm_regs& regs) const;
    [[nodiscard]] Result<kvm_sregs> sregs() const;
    [[nodiscard]] Status set_sregs(const kvm_sregs& sregs) const;
    [[nodiscard]] Result<std::uint32_t> mp_state() const;
    [[nodiscard]] Result<kvm_lapic_state> lapic() const;
    [[nodiscard]] Result<kvm_vcpu_events> events() const;
    // KVM_GET_TSC_KHZ: the guest's TSC frequency. Errors: host_lacks where the host's TSC is no clock.
    [[nodiscard]] Result<std::uint64_t> tsc_khz() const;
    // KVM_GET_STATS_FD, read by kvm::read_statistics().
    [[nodiscard]] Result<Fd> stats_fd() const;
    // Of a VM that was given rings of `entries` (KVM_CAP_DIRTY_LOG_RING). It may outlive the vCPU. Errors:
    // host_lacks.
    [[nodiscard]] Result<DirtyRing> map_dirty_ring(std::uint32_t entries) const;

private:
    Vcpu(Fd fd, kvm_run* run, std::size_t mmap_size, std::uint32_t apic_id)
        : _fd{std::move(fd)}, _run{run}, _mmap_size{mmap_size}, _apic_id{apic_id} {}

    Fd _fd;
    kvm_run* _run = nullptr;
    std::size_t _mmap_size = 0;
    std::uint32_t _apic_id = 0;
};

} // namespace nestbed::kvm
