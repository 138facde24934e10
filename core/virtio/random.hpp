// virtio-rng (virtio 1.2, section 5.4): the host's randomness, by getrandom().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/virtio/device.hpp"

namespace nestbed::virtio {

// Answers in the thread that notifies. It does not offer VIRTIO_F_EVENT_IDX, so each buffer has a
// notification of its own, and none has to be looked for longer than one queue's worth.
class Random final : public Device {
public:
    static constexpr std::uint16_t queue_size = 64;
    // What one request is given at most, whatever room it has; the driver asks again for more. Linux asks for
    // 64 bytes or less.
    static constexpr std::size_t most_bytes = 4096;

    [[nodiscard]] std::uint32_t id() const override;
    [[nodiscard]] std::uint64_t features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override;
    [[nodiscard]] std::span<const std::byte> configuration() const override { return {}; }
    void start(std::uint64_t features, std::vector<std::optional<Queue>> queues,
               Transport& transport) override;
    void notify(std::uint16_t queue) override;
    [[nodiscard]] bool stop() override;

private:
    [[nodiscard]] Checked<void> answer();

    std::optional<Queue> _queue;
    Transport* _transport = nullptr;
};

} // namespace nestbed::virtio
