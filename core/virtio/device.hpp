// What lies between a virtio device and its transport.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/virtio/queue.hpp"

namespace nestbed::virtio {

// What a device asks of its transport; from any thread, but not any more once Device::stop() has returned.
class Transport {
public:
    virtual ~Transport() = default;

    // Buffers were used, and the driver wants to know (Queue::wants_interrupt()).
    virtual void interrupt() = 0;
    // The configuration space has changed.
    virtual void configuration_changed() = 0;
    // Only a reset helps (DEVICE_NEEDS_RESET, virtio 1.2, section 2.1): the driver did what none may do. The
    // device does no more with its queues.
    virtual void needs_reset(std::string_view why) = 0;
};

// A device as far as all are alike. Its transport calls one method at a time, from vCPU threads.
class Device {
public:
    virtual ~Device() = default;

    [[nodiscard]] virtual std::uint32_t id() const = 0; // section 5
    // What is offered, without VIRTIO_F_VERSION_1, which every transport here adds and insists on.
    [[nodiscard]] virtual std::uint64_t features() const = 0;
    // The largest size of each queue, powers of two.
    [[nodiscard]] virtual std::span<const std::uint16_t> queue_sizes() const = 0;
    // The configuration space; all reads as zeros behind its end. No device here has any that is written to.
    [[nodiscard]] virtual std::span<const std::byte> configuration() const = 0;

    // The driver is ready (DRIVER_OK). As many queues as queue_sizes(); none where the driver did not set one
    // up. `features` are those that both know. `transport` outlives the device's running.
    virtual void start(std::uint64_t features, std::vector<std::optional<Queue>> queues,
                       Transport& transport) = 0;
    // The driver has put something into a queue that is there; only between start() and stop().
    virtual void notify(std::uint16_t queue) = 0;
    // Returns once nothing of the guest's is touched any more, any number of times. False: that could not be
    // reached in good time, and may be asked for again.
    [[nodiscard]] virtual bool stop() = 0;
};

} // namespace nestbed::virtio
