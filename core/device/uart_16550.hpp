// A 16550A without its line: the registers, the receiver's FIFO and what interrupts (National Semiconductor,
// PC16550D datasheet, section 8). Sends without delay, so the transmitter is always empty.
#pragma once

#include <array>
#include <cstdint>

namespace nestbed::device {

// Not thread-safe.
class Uart16550 {
public:
    static constexpr unsigned registers = 8;
    static constexpr unsigned fifo_bytes = 16;

    // `number` is below `registers`.
    [[nodiscard]] std::uint8_t read(unsigned number);
    // Where transmits() holds, the byte for register 0 is the caller's to send.
    void write(unsigned number, std::uint8_t value);

    // Whether what is written to register 0 leaves on the line.
    [[nodiscard]] bool transmits() const { return !divisor_selected() && !looped(); }
    // What that does to the interrupt: the holding register is full, then empty again.
    void begin_transmission() { _transmitter_interrupts = false; }
    void end_transmission() { _transmitter_interrupts = true; }

    // Whether a byte from the line is taken without overrun. In loopback the line is disconnected.
    [[nodiscard]] bool has_room() const { return !looped() && _received < capacity(); }
    void receive(std::uint8_t byte);

    // The interrupt output. MCR's OUT2, which connects it to the bus on a PC, is not asked: there are guests
    // that do not set it, and other virtual machines do not ask either.
    [[nodiscard]] bool interrupts() const { return (identification() & 1) == 0; }

private:
    [[nodiscard]] bool divisor_selected() const { return (_line_control & 0x80) != 0; }
    [[nodiscard]] bool looped() const { return (_modem_control & 0x10) != 0; }
    [[nodiscard]] bool fifo_enabled() const { return (_fifo_control & 1) != 0; }
    [[nodiscard]] unsigned capacity() const { return fifo_enabled() ? fifo_bytes : 1; }
    [[nodiscard]] unsigned trigger_level() const;
    [[nodiscard]] std::uint8_t identification() const; // IIR bits 3:0
    [[nodiscard]] std::uint8_t modem_lines() const;    // MSR bits 7:4
    std::uint8_t take_received();
    void write_fifo_control(std::uint8_t value);
    void write_modem_control(std::uint8_t value);

    std::uint16_t _divisor = 12; // 9600 baud; has no effect
    std::uint8_t _interrupt_enable = 0;
    std::uint8_t _fifo_control = 0; // the bits that stay: 7:6 trigger level, 0 enable
    std::uint8_t _line_control = 0;
    std::uint8_t _modem_control = 0;
    std::uint8_t _modem_deltas = 0; // MSR bits 3:0
    std::uint8_t _scratch = 0;
    bool _overrun = false;
    bool _transmitter_interrupts = false; // the holding register's interrupt is pending
    std::array<std::uint8_t, fifo_bytes> _fifo{};
    unsigned _first = 0;
    unsigned _received = 0;
};

} // namespace nestbed::device
