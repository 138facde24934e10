// A raw image or a block device, opened and measured.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/virtio/disk_spec.hpp"

namespace nestbed::virtio {

// The unit of virtio-blk's capacity and addresses, whatever the disk's own block size (virtio 1.2, section
// 5.2.4).
inline constexpr std::uint64_t sector_bytes = 512;

// What the guest is told of a disk.
struct DiskFacts {
    std::uint64_t sectors = 0;
    std::uint32_t block_bytes = 512;
    bool read_only = false;
    std::array<char, 20> serial{}; // ends in zeros, or is full

    [[nodiscard]] std::string_view name() const {
        const std::string_view whole{serial.data(), serial.size()};
        return whole.substr(0, whole.find('\0'));
    }
};

struct Disk {
    Fd file;
    DiskFacts facts;
};

// Takes a lock as well, so that no two machines write to one image. What is behind the last whole sector is
// not shown. Errors: bad_input where there is no such file, it is neither of both, smaller than a sector, or
// in use by another; host_lacks where the system refuses.
[[nodiscard]] Result<Disk> open_disk(const DiskSpec& spec);

} // namespace nestbed::virtio
