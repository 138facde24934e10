// A PC's serial port: a 16550A, and the two ends of its line in the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "base/units.hpp"
#include "core/device/interrupt_line.hpp"
#include "core/device/port_bus.hpp"
#include "core/device/uart_16550.hpp"

namespace nestbed::device {

class Serial final : public PortDevice {
public:
    static constexpr std::uint16_t com1 = 0x3f8;         // interrupt 4 on a PC
    static constexpr std::uint16_t ports = 8;            // of the address space
    static constexpr std::size_t output_bytes = 4096;    // kept back at most
    static constexpr std::size_t input_bytes = 64 * KiB; // that wait for the guest at most

    struct Init {
        std::uint16_t base = com1;
        // Takes what the guest has sent, in order, up to `output_bytes` at once.
        std::function<void(std::span<const std::byte>)> output;
        InterruptLine* interrupt = nullptr; // none where the guest only polls
        // After feed() has refused something: at least half of the queue is free again.
        std::function<void()> input_wanted = {};
    };

    // All three are called with the port's lock held, by whoever accesses the port, feeds or flushes: they
    // must not call back.
    explicit Serial(Init init);

    void access(const PortAccess& access) override;

    // Bytes for the guest, from any thread, which never waits. Gives how many of them, from the first, were
    // taken: the rest does not fit now, or the port is in use.
    [[nodiscard]] std::size_t feed(std::span<const std::byte> bytes);

    // Hands over what the guest has sent. Happens by itself after each newline and whenever the buffer is
    // full; to be called now and then for prompts, and at the end.
    void flush();

private:
    void transmit(std::span<const std::byte> bytes);
    void keep(std::span<const std::byte> bytes);
    void hand_over();
    void refill();
    void drive_interrupt();

    const Init _init;

    std::mutex _mutex; // of all below
    Uart16550 _uart;
    bool _interrupt_asserted = false;
    std::vector<std::byte> _output;
    std::deque<std::byte> _input;
    bool _input_refused = false;
};

} // namespace nestbed::device
