// What answers the guest's IN and OUT in user space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nestbed::device {

// One access of KVM_EXIT_IO: `data` holds `width` bytes per repetition, to read for an OUT, to fill for an
// IN.
struct PortAccess {
    std::uint32_t vcpu = 0;
    std::uint16_t port = 0;
    bool out = false;
    std::uint8_t width = 1; // 1, 2 or 4
    std::span<std::byte> data;
};

// Called from vCPU threads, several at once.
class PortDevice {
public:
    virtual ~PortDevice() = default;
    virtual void access(const PortAccess& access) = 0;
};

// Filled before the machine runs, only read after that.
class PortBus {
public:
    // The device stays the caller's. Ranges do not overlap.
    void attach(std::uint16_t first, std::uint16_t count, PortDevice& device);

    // Ports that nobody answers read all ones and swallow what is written, as on a bare ISA bus. False for
    // these.
    bool dispatch(const PortAccess& access) const { // NOLINT(modernize-use-nodiscard): few want to know
        for (const auto& entry : _entries) {
            if (access.port >= entry.first && access.port - entry.first < entry.count) {
                entry.device->access(access);
                return true;
            }
        }
        return dispatch_unclaimed(access);
    }

private:
    struct Entry {
        std::uint16_t first = 0;
        std::uint16_t count = 0;
        PortDevice* device = nullptr;
    };

    static bool dispatch_unclaimed(const PortAccess& access);

    std::vector<Entry> _entries;
};

} // namespace nestbed::device
