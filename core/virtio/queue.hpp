// The device's side of a split virtqueue (virtio 1.2, section 2.7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/virtio/guest_ram.hpp"

namespace nestbed::virtio {

// What no device here needs more of, and what a descriptor chain is held to whatever the driver says: more
// buffers than that do not fit one preadv() either (IOV_MAX).
inline constexpr std::uint16_t most_descriptors = 1024;

// The parts of a virtqueue as the driver has placed them, guest-physical, and the features that it has
// accepted.
struct QueueSetup {
    std::uint16_t size = 0; // descriptors; a power of two
    std::uint64_t descriptors = 0;
    std::uint64_t available = 0; // "driver area"
    std::uint64_t used = 0;      // "device area"
    bool indirect = false;       // VIRTIO_F_INDIRECT_DESC
    bool event_index = false;    // VIRTIO_F_EVENT_IDX
    // Of descriptors in one indirect table: the largest size that the device offered. A driver that made its
    // queue smaller than that, for want of memory, still makes chains as long as the configuration space says
    // that they may be (seg_max and the like).
    std::uint16_t longest_chain = most_descriptors;
};

// What the driver asks for: buffers to read, then buffers to fill. Where one crosses from a RAM range to the
// next it is two here.
struct Chain {
    std::uint16_t head = 0;
    Buffers readable;
    Buffers writable;
};

// Used by one thread at a time. All that the driver may write is read once and checked; nothing outside guest
// RAM is ever touched.
class Queue {
public:
    // Errors: a size that is no power of two or more than `most_descriptors`, parts that are misaligned or
    // not in one RAM range.
    [[nodiscard]] static Checked<Queue> create(const QueueSetup& setup, GuestRam ram);

    [[nodiscard]] std::uint16_t size() const noexcept { return _size; }

    // How many chains the driver has made available that were not taken yet. Errors: more than the queue has
    // room for, so that the index is garbage.
    [[nodiscard]] Checked<std::uint16_t> waiting() const;

    // Takes the next chain; none where the driver has made none available. After an error the queue is of no
    // use any more. Errors: a malformed chain.
    [[nodiscard]] Checked<std::optional<Chain>> pop();

    // Gives a chain back, with as many bytes of its writable buffers filled, from the first on.
    void push(std::uint16_t head, std::uint32_t written);

    // Whether the driver wants to hear of what was pushed since it was last asked.
    [[nodiscard]] bool wants_interrupt();

    // While the device looks at the queue anyway, or cannot take more, notifications are only exits.
    void disable_notifications();
    // True: the driver made more available before it could have seen this, and may send no notification.
    [[nodiscard]] bool enable_notifications();

private:
    Queue() = default;

    [[nodiscard]] Checked<Chain> read_chain(std::uint16_t head) const;

    GuestRam _ram;
    std::uint16_t _size = 0;
    bool _indirect = false;
    bool _event_index = false;
    std::uint16_t _longest_chain = 0;
    std::byte* _descriptors = nullptr;
    std::byte* _available = nullptr;
    std::byte* _used = nullptr;

    std::uint16_t _next = 0;           // in the available ring
    std::uint16_t _used_index = 0;     // as published
    std::uint16_t _signalled_used = 0; // _used_index when wants_interrupt() was last asked
};

} // namespace nestbed::virtio
