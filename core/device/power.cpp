#include "core/device/power.hpp"

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

// Sleep control register: SLP_TYPx in bits 4:2, SLP_EN in bit 5, which reads zero.
constexpr std::uint8_t sleep_type_mask = 0x1c;
constexpr std::uint8_t sleep_enable = 0x20;

// Reset control register (Intel 300 series chipset datasheet, RST_CNT): bits 3:1 stay, bit 2 resets.
constexpr std::uint8_t reset_cpu = 0x04;
constexpr std::uint8_t reset_readable = 0x0e;

// Keyboard controller: command 0xfe pulses the processor's reset line. The status says that a byte can be
// read, for ever, which is how Linux recognises that there is no keyboard controller without waiting for
// one; and that a command can be written, which everybody waits for who wants to reset.
constexpr std::uint8_t pulse_reset = 0xfe;
constexpr std::uint8_t output_full = 0x01;

} // namespace

void Power::attach_to(PortBus& bus) {
    bus.attach(sleep_control, 2, *this);
    bus.attach(reset_control, 1, *this);
    bus.attach(keyboard_data, 1, *this);
    bus.attach(keyboard_command, 1, *this);
}

void Power::access(const PortAccess& access) {
    byte_by_byte(
        access, [this](std::uint32_t port) { return read(port); },
        [&](std::uint32_t port, std::uint8_t value) { write(access.vcpu, port, value); });
}

std::uint8_t Power::read(std::uint32_t port) const {
    switch (port) {
    case sleep_control:
        return _sleep_type;
    case sleep_status: // WAK_STS: nothing here ever sleeps
    case keyboard_data:
        return 0;
    case reset_control:
        return _reset_control;
    case keyboard_command:
        return output_full;
    default:
        return 0xff;
    }
}

void Power::write(std::uint32_t vcpu, std::uint32_t port, std::uint8_t value) {
    switch (port) {
    case sleep_control:
        _sleep_type = value & sleep_type_mask;
        if (value == (sleep_enable | s5_sleep_type << 2))
            _ending.report({.kind = Ending::Kind::power_off, .vcpu = vcpu});
        break;
    case reset_control:
        _reset_control = value & reset_readable;
        if ((value & reset_cpu) != 0)
            _ending.report({.kind = Ending::Kind::reset, .vcpu = vcpu});
        break;
    case keyboard_command:
        if (value == pulse_reset)
            _ending.report({.kind = Ending::Kind::reset, .vcpu = vcpu});
        break;
    default:
        break;
    }
}

} // namespace nestbed::device
