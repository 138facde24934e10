// QEMU's pc-testdev, which kvm-unit-tests expect: interrupt lines to drive by hand, a port and a stretch of
// address space that remember, and a way to have a page of memory mapped anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "base/units.hpp"
#include "core/device/interrupt_line.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

class TestDevice final : public PortDevice, public MmioDevice {
public:
    static constexpr std::uint16_t scratch = 0xe0;       // 4 ports
    static constexpr std::uint16_t flush = 0xe4;         // 32 bits wide
    static constexpr std::uint16_t scratch_bytes = 0xe8; // the same 4 bytes once more
    static constexpr std::uint16_t first_line = 0x2000;
    static constexpr std::uint16_t lines = 24;
    static constexpr std::uint64_t window = 0xff00'0000; // guest physical
    static constexpr std::uint64_t window_bytes = 64 * KiB;

    struct Init {
        // One a port from first_line on; none where null, or where there are fewer than `lines`. On a PC,
        // line 0 is connected to pin 2 of the I/O APIC.
        std::vector<InterruptLine*> interrupt_lines;
        // To have KVM forget how it maps the page of this guest physical address. May be empty.
        std::function<void(std::uint64_t)> flush_page;
    };

    explicit TestDevice(Init init);

    void attach_to(PortBus& ports, MmioBus& memory);
    void access(const PortAccess& access) override;
    void access(const MmioAccess& access) override;

private:
    void access_scratch(const PortAccess& access);
    void set_line(const PortAccess& access);
    void flush_pages(const PortAccess& access) const;

    const Init _init;

    std::mutex _mutex; // of all below
    std::vector<std::byte> _scratch;
    std::vector<std::byte> _window;
};

} // namespace nestbed::device
