#include "core/virtio/random.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "core/virtio/mmio_registers.hpp"

namespace nestbed::virtio {

namespace {

constexpr std::array<std::uint16_t, 1> sizes{Random::queue_size};

// Fewer than asked for where the kernel is interrupted.
std::uint32_t fill(const Buffers& buffers) {
    std::size_t filled = 0;
    for (const auto& buffer : buffers) {
        const auto part = buffer.first(std::min(buffer.size(), Random::most_bytes - filled));
        const auto got = ::getrandom(part.data(), part.size(), 0);
        filled += got > 0 ? static_cast<std::size_t>(got) : 0;
        if (got != static_cast<ssize_t>(part.size()) || filled == Random::most_bytes)
            break;
    }
    return static_cast<std::uint32_t>(filled);
}

} // namespace

std::uint32_t Random::id() const {
    return VIRTIO_ID_RNG;
}

std::uint64_t Random::features() const {
    return feature_indirect_desc;
}

std::span<const std::uint16_t> Random::queue_sizes() const {
    return sizes;
}

void Random::start(std::uint64_t /*features*/, std::vector<std::optional<Queue>> queues,
                   Transport& transport) {
    _queue = std::move(queues[0]);
    _transport = &transport;
    notify(0); // for what was there before
}

void Random::notify(std::uint16_t /*queue*/) {
    if (!_queue)
        return;
    if (const auto answered = answer(); !answered) {
        _queue.reset();
        _transport->needs_reset(answered.error());
    } else if (_queue->wants_interrupt()) {
        _transport->interrupt();
    }
}

Checked<void> Random::answer() {
    // What comes meanwhile is announced anew.
    const auto waiting = _queue->waiting();
    if (!waiting)
        return tl::unexpected{waiting.error()};
    for (auto left = *waiting; left > 0; --left) {
        const auto chain = _queue->pop();
        if (!chain)
            return tl::unexpected{chain.error()};
        if (!*chain)
            break;
        if ((*chain)->writable.empty())
            return tl::unexpected{std::string{"a request for randomness without room for it"}};
        _queue->push((*chain)->head, fill((*chain)->writable));
    }
    return {};
}

bool Random::stop() {
    _queue.reset();
    return true;
}

} // namespace nestbed::virtio
