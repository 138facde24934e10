// QEMU's pci-testdev (docs/specs/pci-testdev.rst), with which kvm-unit-tests measure what an access to a
// device costs. Of its tests there is the first for each kind of access, "no-eventfd": the others measure
// eventfds that would be registered with KVM.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/device/mmio_bus.hpp"
#include "core/device/pci_config.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

class PciTestDevice final : public PortDevice, public MmioDevice {
public:
    static constexpr std::uint32_t usual_address = 0xfe00'0000; // guest physical
    static constexpr std::uint32_t memory_bytes = 4096;
    static constexpr std::uint16_t usual_port = 0xc000;
    static constexpr std::uint16_t ports = 256;

    struct Init {
        std::uint32_t address = usual_address; // a multiple of memory_bytes
        std::uint16_t port = usual_port;       // a multiple of `ports`
    };

    explicit PciTestDevice(const Init& init) : _init{init} {}

    void attach_to(PortBus& bus, MmioBus& memory);
    // What the guest sees of it in its slot.
    [[nodiscard]] PciConfig config() const;

    void access(const PortAccess& access) override;
    void access(const MmioAccess& access) override;

private:
    enum class Test { none, memory, port };

    [[nodiscard]] std::uint8_t read(std::uint32_t offset) const;
    void write(Test kind, std::uint32_t offset, std::uint8_t value);

    const Init _init;
    std::atomic<Test> _test{Test::none};  // that is running
    std::atomic<std::uint32_t> _count{0}; // of writes that it has seen
};

} // namespace nestbed::device
