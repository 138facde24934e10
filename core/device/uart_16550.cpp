#include "core/device/uart_16550.hpp"

namespace nestbed::device {

namespace {

enum : unsigned {
    data,
    interrupt_enable,
    identify_or_fifo,
    line_control,
    modem_control,
    line_status,
    modem_status,
    scratch
};

// Interrupt enable register.
constexpr std::uint8_t enable_received = 1 << 0;
constexpr std::uint8_t enable_transmitter = 1 << 1;
constexpr std::uint8_t enable_line_status = 1 << 2;
constexpr std::uint8_t enable_modem_status = 1 << 3;

// Interrupt identification register, bits 3:0, in falling priority.
constexpr std::uint8_t line_status_interrupt = 0x6;
constexpr std::uint8_t received_interrupt = 0x4;
constexpr std::uint8_t timeout_interrupt = 0xc;
constexpr std::uint8_t transmitter_interrupt = 0x2;
constexpr std::uint8_t modem_status_interrupt = 0x0;
constexpr std::uint8_t no_interrupt = 0x1;

// Modem status register, bits 7:4 and what a change of each sets in bits 3:0.
constexpr std::uint8_t carrier = 0x80;
constexpr std::uint8_t ring = 0x40;
constexpr std::uint8_t data_set_ready = 0x20;
constexpr std::uint8_t clear_to_send = 0x10;

} // namespace

std::uint8_t Uart16550::read(unsigned number) {
    switch (number) {
    case data:
        return divisor_selected() ? static_cast<std::uint8_t>(_divisor) : take_received();
    case interrupt_enable:
        return divisor_selected() ? static_cast<std::uint8_t>(_divisor >> 8) : _interrupt_enable;
    case identify_or_fifo: {
        const auto id = identification();
        if (id == transmitter_interrupt)
            _transmitter_interrupts = false;
        return static_cast<std::uint8_t>(id | (fifo_enabled() ? 0xc0 : 0));
    }
    case line_control:
        return _line_control;
    case modem_control:
        return _modem_control;
    case line_status: {
        const auto status =
            static_cast<std::uint8_t>(0x60 | (_overrun ? 0x02 : 0) | (_received > 0 ? 0x01 : 0));
        _overrun = false;
        return status;
    }
    case modem_status: {
        const auto status = static_cast<std::uint8_t>(modem_lines() | _modem_deltas);
        _modem_deltas = 0;
        return status;
    }
    default:
        return _scratch;
    }
}

void Uart16550::write(unsigned number, std::uint8_t value) {
    switch (number) {
    case data:
        if (divisor_selected()) {
            _divisor = static_cast<std::uint16_t>((_divisor & 0xff00) | value);
            break;
        }
        if (looped())
            receive(value);
        end_transmission();
        break;
    case interrupt_enable:
        if (divisor_selected()) {
            _divisor = static_cast<std::uint16_t>((_divisor & 0x00ff) | value << 8);
            break;
        }
        _interrupt_enable = value & 0x0f;
        // Enabling it with the holding register empty interrupts at once; Linux tests that.
        if ((value & enable_transmitter) != 0)
            _transmitter_interrupts = true;
        break;
    case identify_or_fifo:
        write_fifo_control(value);
        break;
    case line_control:
        _line_control = value;
        break;
    case modem_control:
        write_modem_control(value & 0x1f);
        break;
    case scratch:
        _scratch = value;
        break;
    default: // both status registers are read-only
        break;
    }
}

void Uart16550::receive(std::uint8_t byte) {
    if (_received == capacity()) {
        _overrun = true; // what was received before stays
        return;
    }
    _fifo[(_first + _received) % fifo_bytes] = byte;
    ++_received;
}

std::uint8_t Uart16550::take_received() {
    if (_received == 0)
        return 0;
    const auto byte = _fifo[_first];
    _first = (_first + 1) % fifo_bytes;
    --_received;
    return byte;
}

unsigned Uart16550::trigger_level() const {
    constexpr std::array<unsigned, 4> levels{1, 4, 8, 14};
    return fifo_enabled() ? levels[_fifo_control >> 6] : 1;
}

// The line has no pauses: what is fewer than the trigger level is all that there is, and times out at once.
std::uint8_t Uart16550::identification() const {
    if ((_interrupt_enable & enable_line_status) != 0 && _overrun)
        return line_status_interrupt;
    if ((_interrupt_enable & enable_received) != 0 && _received > 0)
        return _received >= trigger_level() ? received_interrupt : timeout_interrupt;
    if ((_interrupt_enable & enable_transmitter) != 0 && _transmitter_interrupts)
        return transmitter_interrupt;
    if ((_interrupt_enable & enable_modem_status) != 0 && _modem_deltas != 0)
        return modem_status_interrupt;
    return no_interrupt;
}

// In loopback the outputs are the inputs: RTS is CTS, DTR is DSR, OUT1 is RI, OUT2 is DCD. Otherwise somebody
// is always there.
std::uint8_t Uart16550::modem_lines() const {
    if (!looped())
        return carrier | data_set_ready | clear_to_send;
    return static_cast<std::uint8_t>(((_modem_control & 0x01) != 0 ? data_set_ready : 0) |
                                     ((_modem_control & 0x02) != 0 ? clear_to_send : 0) |
                                     ((_modem_control & 0x04) != 0 ? ring : 0) |
                                     ((_modem_control & 0x08) != 0 ? carrier : 0));
}

void Uart16550::write_fifo_control(std::uint8_t value) {
    const bool switched = ((value ^ _fifo_control) & 1) != 0;
    // Bits 7:1 count only together with bit 0.
    _fifo_control = (value & 1) != 0 ? value & 0xc1 : 0;
    if (switched || ((value & 1) != 0 && (value & 2) != 0))
        _received = 0;
}

void Uart16550::write_modem_control(std::uint8_t value) {
    const auto before = modem_lines();
    _modem_control = value;
    const auto after = modem_lines();
    auto changed = static_cast<std::uint8_t>(before ^ after);
    if ((after & ring) != 0) // only the trailing edge of RI counts
        changed &= static_cast<std::uint8_t>(~ring);
    _modem_deltas = static_cast<std::uint8_t>(_modem_deltas | changed >> 4);
}

} // namespace nestbed::device
