// A virtio-blk request as it lies in guest memory, made a disk operation (virtio 1.2, section 5.2.6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/virtio/disk.hpp"
#include "core/virtio/guest_ram.hpp"
#include "core/virtio/io_engine.hpp"
#include "core/virtio/queue.hpp"

namespace nestbed::virtio {

// Virtio's numbers.
enum class BlockStatus : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

struct BlockRequest {
    std::uint16_t head = 0;
    std::byte* status = nullptr; // where its outcome belongs: guest RAM
    Buffers data;                // what a read fills, what a write takes; of the others what there is
    std::uint64_t writable = 0;  // bytes to fill before the status
    // What comes of it without a disk; otherwise `operation` decides.
    std::optional<BlockStatus> decided;
    bool identify = false; // VIRTIO_BLK_T_GET_ID: the serial number goes into `data`
    IoOperation operation;

    // Bytes that count against a limit of bytes: what crosses between disk and guest.
    [[nodiscard]] std::uint64_t transferred() const;
    // The used length: what was filled for certain, from the first writable byte on (section 2.7.8.2).
    [[nodiscard]] std::uint32_t filled(BlockStatus outcome) const;
};

// `write_back`: the driver knows VIRTIO_BLK_F_FLUSH and flushes what it wants to last; otherwise each write
// lasts when it is done. Reads guest memory, once; writes none. Errors: no room for a header or a status.
[[nodiscard]] Checked<BlockRequest> read_block_request(const Chain& chain, const DiskFacts& disk,
                                                       bool write_back);

} // namespace nestbed::virtio
