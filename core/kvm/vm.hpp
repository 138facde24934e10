// One virtual machine: one method per ioctl, no policy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <linux/kvm.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/kvm/vcpu.hpp"

namespace nestbed::kvm {

// A message-signalled interrupt as KVM_X2APIC_API_USE_32BIT_IDS has it: destination bits 7:0 are bits 19:12
// of the lower half of the address, bits 31:8 those of the upper half.
struct Msi {
    std::uint32_t address_lo = 0;
    std::uint32_t address_hi = 0;
    std::uint32_t data = 0;
};

class Vm {
public:
    Vm(Fd fd, std::size_t vcpu_mmap_size) : _fd{std::move(fd)}, _vcpu_mmap_size{vcpu_mmap_size} {}

    [[nodiscard]] int fd() const noexcept { return _fd.get(); }

    // KVM_CHECK_EXTENSION on the VM, which may differ from the system-wide answer.
    [[nodiscard]] int check_extension(int capability) const;

    [[nodiscard]] Status enable_cap(std::uint32_t capability, std::string_view name,
                                    std::uint64_t argument0) const;

    // KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR: three pages and one page that Intel hosts without
    // unrestricted guest mode need outside guest RAM. Other vendors accept and ignore them.
    [[nodiscard]] Status set_tss_address(std::uint64_t guest_physical) const;
    [[nodiscard]] Status set_identity_map_address(std::uint64_t guest_physical) const;

    // KVM_SET_USER_MEMORY_REGION; addresses and size are multiples of 4 KiB. The host range stays the
    // caller's and must outlive the VM. `flags` are KVM_MEM_*; of a slot that exists they may change.
    [[nodiscard]] Status set_memory_region(std::uint32_t slot, std::uint64_t guest_physical, std::byte* host,
                                           std::uint64_t bytes, std::uint32_t flags = 0) const;

    // KVM_GET_DIRTY_LOG: which of the slot's `pages` 4 KiB pages have been written since the last time, a bit
    // each from bit 0 of the first word on. Of slots with KVM_MEM_LOG_DIRTY_PAGES; not where dirty rings are
    // on.
    [[nodiscard]] Result<std::vector<std::uint64_t>> dirty_log(std::uint32_t slot, std::uint64_t pages) const;

    // KVM_RESET_DIRTY_RINGS: pages whose entries were collected are watched again. Returns how many.
    [[nodiscard]] Result<int> reset_dirty_rings() const;

    // KVM_IOEVENTFD for an OUT of `width` bytes to a port: KVM signals the eventfd without an exit to user
    // space.
    [[nodiscard]] Status add_pio_eventfd(std::uint16_t port, std::uint32_t width, int eventfd) const;

    // The same for a write of `width` bytes to an address outside guest memory.
    [[nodiscard]] Status add_mmio_eventfd(std::uint64_t address, std::uint32_t width, int eventfd) const;

    // KVM_SET_GSI_ROUTING: with a split irqchip the only use of these is to tell KVM for which vectors and
    // vCPUs an EOI is to become KVM_EXIT_IOAPIC_EOI (Documentation/virt/kvm/api.rst, KVM_CAP_SPLIT_IRQCHIP).
    // The n-th is that of pin n.
    [[nodiscard]] Status set_gsi_routing(std::span<const Msi> pins) const;

    // KVM_IRQFD: whoever signals the eventfd makes KVM send what set_gsi_routing() has at `pin`. Until it is
    // removed, or the VM gone.
    [[nodiscard]] Status add_irqfd(int eventfd, std::uint32_t pin) const;
    [[nodiscard]] Status remove_irqfd(int eventfd, std::uint32_t pin) const;

    // KVM_SIGNAL_MSI as it is. 0 where the guest blocked it, or nobody has that APIC id.
    [[nodiscard]] Result<int> signal_msi(const Msi& message) const;

    // KVM_SIGNAL_MSI with the destination's full 32-bit APIC id (KVM_X2APIC_API_USE_32BIT_IDS), fixed
    // delivery, edge. Errors: check_failed where the local APIC does not take it.
    [[nodiscard]] Status signal_msi(std::uint32_t apic_id, std::uint8_t vector) const;

    // KVM_CREATE_VCPU. `apic_id` becomes the vCPU's id, and so its APIC id. Call it on the thread that will
    // run it.
    [[nodiscard]] Result<Vcpu> create_vcpu(std::uint32_t apic_id) const;

    // KVM_GET_STATS_FD, read by kvm::read_statistics().
    [[nodiscard]] Result<Fd> stats_fd() const;

private:
    Fd _fd;
    std::size_t _vcpu_mmap_size = 0;
};

} // namespace nestbed::kvm
