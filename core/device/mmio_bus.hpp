// What answers the guest's memory accesses outside RAM in user space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nestbed::device {

// One access of KVM_EXIT_MMIO: 1, 2, 4 or 8 bytes, to read for a write, to fill for a read.
struct MmioAccess {
    std::uint32_t vcpu = 0;
    std::uint64_t address = 0; // guest-physical
    bool write = false;
    std::span<std::byte> data;
};

// Called from vCPU threads, several at once.
class MmioDevice {
public:
    virtual ~MmioDevice() = default;
    virtual void access(const MmioAccess& access) = 0;
};

// Filled before the machine runs, only read after that.
class MmioBus {
public:
    // The device stays the caller's. Ranges do not overlap.
    void attach(std::uint64_t first, std::uint64_t bytes, MmioDevice& device) {
        _entries.push_back({first, bytes, &device});
    }
    // Addresses that nobody answers read all ones and swallow what is written. False for these, and for
    // accesses that begin in a device and end outside.
    bool dispatch(const MmioAccess& access) const {
        for (const auto& entry : _entries)
            if (access.address >= entry.first && access.address - entry.first < entry.bytes &&
                access.data.size() <= entry.bytes - (access.address - entry.first)) {
                entry.device->access(access);
                return true;
            }
        if (!access.write)
            for (auto& byte : access.data)
                byte = std::byte{0xff};
        return false;
    }

private:
    struct Entry {
        std::uint64_t first = 0;
        std::uint64_t bytes = 0;
        MmioDevice* device = nullptr;
    };
    std::vector<Entry> _entries;
};

} // namespace nestbed::device
