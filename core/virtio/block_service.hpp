// What a virtio-blk device does with its queue and its disk, one step at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/virtio/block_request.hpp"
#include "core/virtio/device.hpp"
#include "core/virtio/disk.hpp"
#include "core/virtio/io_engine.hpp"
#include "core/virtio/rate_limit.hpp"

namespace nestbed::virtio {

// One thread takes the steps, others start and stop. Between start() and stop() it reads and writes guest
// memory; the disk does so itself until what was in flight has ended.
class BlockService {
public:
    BlockService(DiskFacts disk, std::unique_ptr<IoEngine> engine, RateLimit limit);

    // `transport` is not used any more once begin_stop() has returned. Only while idle.
    void start(Queue queue, bool write_back, Transport& transport);
    void begin_stop();
    // Nothing is in flight: true. False at the deadline.
    [[nodiscard]] bool wait_until_idle(Clock::time_point deadline);
    [[nodiscard]] bool idle() const;

    // Takes in what the disk has done and gives it what the driver has asked for. The answer: how long until
    // the next step is due if nothing happens; none where only a notification, a completion or a stop makes
    // one necessary.
    [[nodiscard]] std::optional<Clock::duration> step(Clock::time_point now);

    [[nodiscard]] const IoEngine& engine() const noexcept { return *_engine; }

private:
    // From start to stop.
    struct Session {
        Queue queue;
        bool write_back = false;
        Transport* transport = nullptr;
        std::optional<BlockRequest> waiting; // for its turn under the limit
        bool broken = false;                 // the driver has to reset the device first
    };
    struct Slot {
        bool busy = false;
        bool cancelled = false;
        std::uint64_t session = 0; // that it belongs to
        std::uint32_t repetitions = 0;
        BlockRequest request;
    };

    // With the mutex held.
    void complete(std::span<const IoCompletion> completions);
    [[nodiscard]] bool goes_on(Slot& slot, std::int64_t result);
    [[nodiscard]] BlockStatus outcome(const Slot& slot, std::int64_t result);
    void finish(const BlockRequest& request, BlockStatus status);
    [[nodiscard]] std::optional<Clock::duration> take(Clock::time_point now);
    [[nodiscard]] bool next_request();
    void give_up(std::string_view why);

    const DiskFacts _disk;
    RateLimit _limit;
    std::unique_ptr<IoEngine> _engine; // the stepping thread's

    mutable std::mutex _mutex; // held while the guest's memory or the transport is touched, never for a disk
    std::condition_variable _became_idle;
    std::optional<Session> _session;
    std::uint64_t _sessions = 0;
    std::uint32_t _in_flight = 0;
    bool _complained = false; // about the disk; a guest cannot fill the log

    std::vector<Slot> _slots;
    std::vector<std::uint32_t> _free;
    std::vector<std::uint32_t> _to_start;
};

} // namespace nestbed::virtio
