// The configuration space of a PCI function without capabilities as a value (PCI Local Bus 3.0, chapter 6).
#pragma once

#include <array>
#include <cstdint>

namespace nestbed::device {

class PciConfig {
public:
    static constexpr unsigned registers = 64; // of 32 bits
    static constexpr unsigned bars = 6;

    struct Identity {
        std::uint16_t vendor = 0;
        std::uint16_t device = 0;
        std::uint32_t class_code = 0; // 24 bits: class, subclass, interface
        std::uint16_t subsystem_vendor = 0;
        std::uint16_t subsystem = 0;
    };

    explicit PciConfig(const Identity& identity);

    // A base address register: 32-bit memory that is not prefetchable, or I/O. `bytes` is a power of two
    // from 16 on. The function answers there from the start, and nowhere else: the guest can find out the
    // size, not move it.
    void set_memory_bar(unsigned number, std::uint32_t address, std::uint32_t bytes);
    void set_io_bar(unsigned number, std::uint16_t port, std::uint16_t bytes);

    // `number` is below `registers`.
    [[nodiscard]] std::uint32_t read(unsigned number) const;
    // Only where `mask` has ones.
    void write(unsigned number, std::uint32_t value, std::uint32_t mask);

private:
    struct Bar {
        std::uint32_t value = 0;
        std::uint32_t size_mask = 0; // what it reads while its size is asked for
        bool sizing = false;
    };

    std::array<std::uint32_t, registers> _values{};
    std::array<std::uint32_t, registers> _writable{};
    std::array<Bar, bars> _bars{};
};

} // namespace nestbed::device
