// The registers by which a PC is switched off or reset: those of hardware-reduced ACPI, the chipset's reset
// control, and the keyboard controller's reset line.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/device/ending.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

class Power final : public PortDevice {
public:
    // What the FADT says of them (ACPI 6.5, sections 5.2.9 and 4.8.3.7): SLEEP_CONTROL_REG and
    // SLEEP_STATUS_REG are one byte each in I/O space, RESET_REG is reset_control with reset_value, and \_S5
    // is sleep type 5. IAPC_BOOT_ARCH has no 8042.
    static constexpr std::uint16_t sleep_control = 0x600;
    static constexpr std::uint16_t sleep_status = 0x601;
    static constexpr std::uint8_t s5_sleep_type = 5;
    static constexpr std::uint16_t reset_control = 0xcf9;
    static constexpr std::uint8_t reset_value = 0x06;

    static constexpr std::uint16_t keyboard_data = 0x60;
    static constexpr std::uint16_t keyboard_command = 0x64;

    explicit Power(FirstEnding& ending) : _ending{ending} {}

    void attach_to(PortBus& bus);
    void access(const PortAccess& access) override;

private:
    [[nodiscard]] std::uint8_t read(std::uint32_t port) const;
    void write(std::uint32_t vcpu, std::uint32_t port, std::uint8_t value);

    FirstEnding& _ending;
    // What the guest last wrote and can read back.
    std::atomic<std::uint8_t> _sleep_type{0};
    std::atomic<std::uint8_t> _reset_control{0};
};

} // namespace nestbed::device
