// What answers the guest's loads and stores where it has no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nestbed::device {

// One access of KVM_EXIT_MMIO: `data` holds `width` bytes, to read for a write, to fill for a read.
struct MmioAccess {
    std::uint32_t vcpu = 0;
    std::uint64_t address = 0; // guest physical
    bool write = false;
    std::uint8_t width = 4; // 1 to 8
    std::span<std::byte> data;
};

// Called from vCPU threads, several at once. Only with accesses that are in the device's range as a whole.
class MmioDevice {
public:
    virtual ~MmioDevice() = default;
    virtual void access(const MmioAccess& access) = 0;
};

// Filled before the machine runs, only read after that.
class MmioBus {
public:
    // The device stays the caller's. Ranges do not overlap; none is empty or goes beyond 2^64.
    void attach(std::uint64_t first, std::uint64_t bytes, MmioDevice& device);

    // What nobody answers, and what is only in part in a range, reads all ones and swallows what is written,
    // as a PCI bus does with a master abort. False for these.
    [[nodiscard]] bool dispatch(const MmioAccess& access) const;

private:
    struct Entry {
        std::uint64_t first = 0;
        std::uint64_t last = 0;
        MmioDevice* device = nullptr;
    };

    std::vector<Entry> _entries; // ascending
};

} // namespace nestbed::device
