// PCI bus 0 behind configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2).
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

#include "core/device/pci_config.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

class PciHost final : public PortDevice {
public:
    static constexpr std::uint16_t address_port = 0xcf8;
    static constexpr std::uint16_t data_port = 0xcfc; // and the three after it
    static constexpr unsigned devices = 32;

    // One function a device; empty where there is none.
    using Functions = std::array<std::optional<PciConfig>, devices>;

    explicit PciHost(const Functions& functions) : _functions{functions} {}

    void attach_to(PortBus& bus);
    void access(const PortAccess& access) override;

private:
    void access_address(const PortAccess& access);
    void access_data(const PortAccess& access);
    [[nodiscard]] PciConfig* selected();

    std::mutex _mutex; // of all below
    std::uint32_t _address = 0;
    Functions _functions;
};

// The bridge between processors and bus 0, as it is device 0 of a PC: Linux wants to see one before it
// believes in mechanism #1.
[[nodiscard]] PciConfig pci_host_bridge();

} // namespace nestbed::device
