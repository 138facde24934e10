// virtio-blk (virtio 1.2, section 5.2).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "core/virtio/block_service.hpp"
#include "core/virtio/device.hpp"
#include "core/virtio/disk.hpp"
#include "core/virtio/disk_spec.hpp"
#include "core/virtio/io_engine.hpp"

namespace nestbed::virtio {

// With a thread of its own, from creation to destruction.
class Block final : public Device {
public:
    static constexpr std::uint16_t queue_size = 256;
    // How long a stop waits for what is in flight. Local disks need milliseconds.
    static constexpr std::chrono::seconds patience{10};

    // Errors: those of open_disk(); host_lacks where there are no descriptors or threads left.
    [[nodiscard]] static Result<std::unique_ptr<Block>> open(const DiskSpec& spec);
    // For disks of another kind: `engine` works on `disk.file`.
    [[nodiscard]] static Result<std::unique_ptr<Block>> create(Disk disk, std::unique_ptr<IoEngine> engine,
                                                               RateLimit limit,
                                                               Clock::duration stop_within = patience);

    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    Block(Block&&) = delete;
    Block& operator=(Block&&) = delete;
    // Stops. Where the disk does not answer in good time the log says so, and the thread is left to itself
    // with all that it needs. What is in flight is the kernel's then, which may still fill guest RAM.
    ~Block() override;

    // An eventfd that is a notification, whoever writes to it: for KVM_IOEVENTFD on QueueNotify.
    [[nodiscard]] int notify_fd() const noexcept;

    [[nodiscard]] std::uint32_t id() const override;
    [[nodiscard]] std::uint64_t features() const override;
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override;
    [[nodiscard]] std::span<const std::byte> configuration() const override { return _configuration; }
    void start(std::uint64_t features, std::vector<std::optional<Queue>> queues,
               Transport& transport) override;
    void notify(std::uint16_t queue) override;
    [[nodiscard]] bool stop() override;

private:
    struct Worker; // what the thread needs, shared with it
    Block(DiskFacts facts, std::shared_ptr<Worker> worker, Clock::duration stop_within);

    DiskFacts _facts;
    Clock::duration _stop_within;
    std::vector<std::byte> _configuration;
    std::shared_ptr<Worker> _worker;
    std::thread _thread;
};

// Pure: what a disk is offered with, and its configuration space.
[[nodiscard]] std::uint64_t block_features(const DiskFacts& disk);
[[nodiscard]] std::vector<std::byte> block_configuration(const DiskFacts& disk);

} // namespace nestbed::virtio
