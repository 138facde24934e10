// Port 0x61 of a PC, system control port B. There is no timer and no speaker behind it: what matters is that
// bits 7 and 6 are zero, since Linux asks them at every NMI that it does not know whether it was a bus error.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/device/port_bus.hpp"

namespace nestbed::device {

class SystemControl final : public PortDevice {
public:
    static constexpr std::uint16_t port = 0x61;

    void access(const PortAccess& access) override;

private:
    std::atomic<std::uint8_t> _written{0}; // bits 3:0
    std::atomic<bool> _refresh{false};     // bit 4, which toggles all the time
};

} // namespace nestbed::device
