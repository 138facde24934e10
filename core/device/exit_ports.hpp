// The ports by which test images end an emulator. QEMU and Bochs have them, hardware does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "core/device/ending.hpp"
#include "core/device/port_bus.hpp"

namespace nestbed::device {

// QEMU's isa-debug-exit: whatever is written ends the machine.
class DebugExit final : public PortDevice {
public:
    static constexpr std::uint16_t usual_port = 0xf4;
    static constexpr std::uint16_t ports = 4;

    // The status that QEMU exits with, of which a shell sees the low 8 bits.
    static constexpr std::uint64_t status_of(std::uint32_t written) {
        return std::uint64_t{written} << 1 | 1;
    }

    explicit DebugExit(FirstEnding& ending) : _ending{ending} {}

    void access(const PortAccess& access) override;

private:
    FirstEnding& _ending;
};

// Bochs' shutdown port: powers off once the text "Shutdown" has been written to it.
class ShutdownPort final : public PortDevice {
public:
    static constexpr std::uint16_t usual_port = 0x8900;

    explicit ShutdownPort(FirstEnding& ending) : _ending{ending} {}

    void access(const PortAccess& access) override;

private:
    // Whether the text is complete with this byte.
    bool completes(std::uint8_t byte);

    FirstEnding& _ending;
    std::mutex _mutex;
    std::size_t _matched = 0; // bytes of the text; under the lock
};

} // namespace nestbed::device
