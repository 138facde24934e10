#include "core/kvm/vm.hpp"

#include <vector>

#include <sys/ioctl.h>

#include <fmt/format.h>

#include "core/kvm/abi.hpp"
#include "core/kvm/ioctl.hpp"

namespace nestbed::kvm {

namespace {

Status done(const Result<int>& answer) {
    if (!answer)
        return tl::unexpected{answer.error()};
    return {};
}

Result<int> irqfd(int vm, int eventfd, std::uint32_t pin, std::uint32_t flags) {
    kvm_irqfd request{};
    request.fd = static_cast<std::uint32_t>(eventfd);
    request.gsi = pin;
    request.flags = flags;
    return call(vm, KVM_IRQFD, "KVM_IRQFD", &request, fmt::format("pin {}, flags {:#x}", pin, flags));
}

} // namespace

int Vm::check_extension(int capability) const {
    const int answer = ::ioctl(_fd.get(), KVM_CHECK_EXTENSION, capability);
    return answer < 0 ? 0 : answer;
}

Status Vm::enable_cap(std::uint32_t capability, std::string_view name, std::uint64_t argument0) const {
    kvm_enable_cap cap{};
    cap.cap = capability;
    cap.args[0] = argument0;
    return done(
        call(_fd.get(), KVM_ENABLE_CAP, "KVM_ENABLE_CAP", &cap, fmt::format("{}, {:#x}", name, argument0)));
}

Status Vm::set_tss_address(std::uint64_t guest_physical) const {
    return done(call(_fd.get(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR",
                     static_cast<unsigned long>(guest_physical), fmt::format("{:#x}", guest_physical)));
}

Status Vm::set_identity_map_address(std::uint64_t guest_physical) const {
    std::uint64_t address = guest_physical;
    return done(call(_fd.get(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &address,
                     fmt::format("{:#x}", guest_physical)));
}

Status Vm::set_memory_region(std::uint32_t slot, std::uint64_t guest_physical, std::byte* host,
                             std::uint64_t bytes, std::uint32_t flags) const {
    kvm_userspace_memory_region region{};
    region.slot = slot;
    region.flags = flags;
    region.guest_phys_addr = guest_physical;
    region.memory_size = bytes;
    region.userspace_addr = reinterpret_cast<std::uint64_t>(host);
    return done(call(_fd.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region,
                     fmt::format("slot {}, guest physical {:#x}, {:#x} bytes, flags {:#x}", slot,
                                 guest_physical, bytes, flags)));
}

Result<std::vector<std::uint64_t>> Vm::dirty_log(std::uint32_t slot, std::uint64_t pages) const {
    std::vector<std::uint64_t> bits((pages + 63) / 64);
    kvm_dirty_log log{};
    log.slot = slot;
    log.dirty_bitmap = bits.data();
    return call(_fd.get(), KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", &log, fmt::format("slot {}", slot))
        .map([&](int) { return std::move(bits); });
}

Result<int> Vm::reset_dirty_rings() const {
    return call(_fd.get(), KVM_RESET_DIRTY_RINGS, "KVM_RESET_DIRTY_RINGS", 0UL);
}

Status Vm::add_pio_eventfd(std::uint16_t port, std::uint32_t width, int eventfd) const {
    kvm_ioeventfd request{};
    request.addr = port;
    request.len = width;
    request.fd = eventfd;
    request.flags = KVM_IOEVENTFD_FLAG_PIO;
    return done(call(_fd.get(), KVM_IOEVENTFD, "KVM_IOEVENTFD", &request,
                     fmt::format("port {:#x}, {} bytes", port, width)));
}

Status Vm::add_mmio_eventfd(std::uint64_t address, std::uint32_t width, int eventfd) const {
    kvm_ioeventfd request{};
    request.addr = address;
    request.len = width;
    request.fd = eventfd;
    return done(call(_fd.get(), KVM_IOEVENTFD, "KVM_IOEVENTFD", &request,
                     fmt::format("address {:#x}, {} bytes", address, width)));
}

Status Vm::set_gsi_routing(std::span<const Msi> pins) const {
    std::vector<kvm_irq_routing_entry> entries(pins.size());
    for (std::size_t pin = 0; pin < pins.size(); ++pin) {
        auto& entry = entries[pin];
        entry.gsi = static_cast<std::uint32_t>(pin);
        entry.type = KVM_IRQ_ROUTING_MSI;
        entry.u.msi.address_lo = pins[pin].address_lo;
        entry.u.msi.address_hi = pins[pin].address_hi;
        entry.u.msi.data = pins[pin].data;
    }
    abi::IrqRoutes routes{std::span<const kvm_irq_routing_entry>{entries}};
    return done(call(_fd.get(), abi::set_gsi_routing, "KVM_SET_GSI_ROUTING", routes.data(),
                     fmt::format("{} routes", pins.size())));
}

Status Vm::add_irqfd(int eventfd, std::uint32_t pin) const {
    return done(irqfd(_fd.get(), eventfd, pin, 0));
}

Status Vm::remove_irqfd(int eventfd, std::uint32_t pin) const {
    return done(irqfd(_fd.get(), eventfd, pin, KVM_IRQFD_FLAG_DEASSIGN));
}

Result<int> Vm::signal_msi(const Msi& message) const {
    kvm_msi msi{};
    msi.address_lo = message.address_lo;
    msi.address_hi = message.address_hi;
    msi.data = message.data;
    return call(_fd.get(), KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &msi,
                fmt::format("address {:#x}_{:08x}, data {:#x}", message.address_hi, message.address_lo,
                            message.data));
}

Status Vm::signal_msi(std::uint32_t apic_id, std::uint8_t vector) const {
    // SDM volume 3, 11.11.1: destination bits 7:0 at 19:12; KVM takes bits 31:8 from the upper half of the
    // address.
    const Msi message{.address_lo = 0xfee0'0000U | (apic_id & 0xffU) << 12,
                      .address_hi = apic_id & 0xffff'ff00U,
                      .data = vector};
    const auto target = fmt::format("APIC id {:#x}, vector {:#x}", apic_id, vector);
    return signal_msi(message).and_then([&](int delivered) -> Status {
        // Documentation/virt/kvm/api.rst: 0 where the guest blocked it.
        if (delivered == 0)
            return fail(ErrorKind::check_failed, "KVM_SIGNAL_MSI to " + target,
                        "the local APIC did not take it: it is turned off, or KVM does not find it");
        return {};
    });
}

Result<Vcpu> Vm::create_vcpu(std::uint32_t apic_id) const {
    return call(_fd.get(), KVM_CREATE_VCPU, "KVM_CREATE_VCPU", static_cast<unsigned long>(apic_id),
                fmt::format("APIC id {}", apic_id),
                "fewer vCPUs (--vcpus), or a higher `ulimit -n`; `nestbed check` shows both limits")
        .and_then([&](int fd) { return Vcpu::map(Fd{fd}, _vcpu_mmap_size, apic_id); });
}

Result<Fd> Vm::stats_fd() const {
    return call(_fd.get(), KVM_GET_STATS_FD, "KVM_GET_STATS_FD", 0UL, "VM").map([](int fd) {
        return Fd{fd};
    });
}

} // namespace nestbed::kvm
