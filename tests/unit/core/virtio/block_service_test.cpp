#include "core/virtio/block_service.hpp"

#include <string>
#include <vector>

#include <linux/virtio_blk.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/virtio/block.hpp"
#include "guest.hpp"

namespace nestbed::virtio {
namespace {

using namespace std::chrono_literals;
using namespace test;

// Done when it is looked at, all of it; or, held, when it is told.
class Recorder final : public IoEngine {
public:
    void start(std::uint32_t slot, const IoOperation& operation) override {
        started.push_back(operation);
        pending.push_back({slot, static_cast<std::int64_t>(operation.bytes)});
    }
    void cancel(std::uint32_t /*slot*/) override {}
    bool submit() override { return true; }
    std::vector<IoCompletion> reap() override {
        return held ? std::vector<IoCompletion>{} : std::exchange(pending, {});
    }
    [[nodiscard]] int completion_fd() const override { return 0; } // an event comes
    [[nodiscard]] std::string_view name() const override { return "recorder"; }

    bool held = false;
    std::vector<IoOperation> started;
    std::vector<IoCompletion> pending;
};

class Link final : public Transport {
public:
    void interrupt() override { ++interrupts; }
    void configuration_changed() override {}
    void needs_reset(std::string_view why) override { reasons.emplace_back(why); }

    int interrupts = 0;
    std::vector<std::string> reasons;
};

class ServiceTest : public testing::Test {
protected:
    static constexpr std::uint64_t header_at = Ram::start + 0x8000;
    static constexpr std::uint64_t status_at = Ram::start + 0x8100;
    static constexpr std::uint64_t data_at = Ram::start + 0x10000;
    static constexpr std::uint16_t size = 256;

    void make(RateLimit limit = {{}, {}}, bool event_index = false, bool write_back = true) {
        auto own = std::make_unique<Recorder>();
        engine = own.get();
        DiskFacts disk;
        disk.sectors = 1024;
        service.emplace(disk, std::move(own), limit);
        auto setup = driver.setup();
        setup.event_index = event_index;
        service->start(*Queue::create(setup, ram.callable()), write_back, link);
    }
    void add(std::uint32_t type, std::uint32_t bytes) {
        ram.set(header_at, virtio_blk_outhdr{type, 0, 0});
        std::vector<Buffer> buffers{{header_at, 16, false}, {status_at, 1, true}};
        if (bytes > 0)
            buffers.insert(buffers.begin() + 1, {data_at, bytes, type == VIRTIO_BLK_T_IN});
        driver.add(buffers);
    }

    Ram ram;
    DriverQueue driver{ram, size};
    Link link;
    std::optional<BlockService> service;
    Recorder* engine = nullptr;
    Clock::time_point now{1000s};
};

TEST_F(ServiceTest, TheLimitDecidesWhen) {
    make(RateLimit{10, {}});
    for (int i = 0; i < 3; ++i)
        add(VIRTIO_BLK_T_FLUSH, 0);
    EXPECT_EQ(service->step(now), Clock::duration{100ms});
    EXPECT_EQ(engine->started.size(), 1U);
    EXPECT_EQ(service->step(now + 99ms), Clock::duration{1ms}) << "notifications change nothing";
    EXPECT_EQ(engine->started.size(), 1U);
    EXPECT_EQ(service->step(now + 100ms), Clock::duration{100ms});
    EXPECT_EQ(service->step(now + 200ms), std::nullopt);
    EXPECT_EQ(engine->started.size(), 3U);
}

TEST_F(ServiceTest, TheLimitCountsBytesOfTransfersOnly) {
    make(RateLimit{{}, 10'240});
    add(VIRTIO_BLK_T_OUT, 1024); // the burst
    EXPECT_EQ(service->step(now), std::nullopt);
    add(VIRTIO_BLK_T_FLUSH, 0);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(engine->started.size(), 2U);
    add(VIRTIO_BLK_T_IN, 512);
    EXPECT_EQ(service->step(now), Clock::duration{50ms});
    EXPECT_EQ(engine->started.size(), 2U);
}

TEST_F(ServiceTest, AStopForgetsWhatWaitsForTheLimit) {
    make(RateLimit{10, {}});
    add(VIRTIO_BLK_T_FLUSH, 0);
    add(VIRTIO_BLK_T_FLUSH, 0);
    static_cast<void>(service->step(now));
    service->begin_stop();
    EXPECT_FALSE(service->wait_until_idle(Clock::now()));
    EXPECT_EQ(service->step(now + 1s), std::nullopt);
    EXPECT_TRUE(service->wait_until_idle(Clock::now()));
    EXPECT_EQ(engine->started.size(), 1U);
    EXPECT_EQ(driver.used_index(), 0);
}

TEST_F(ServiceTest, NeverMoreInFlightThanTheEngineTakes) {
    make();
    engine->held = true;
    for (unsigned i = 0; i < size / 2; ++i) // two descriptors each
        add(VIRTIO_BLK_T_FLUSH, 0);
    // More than there are descriptors: heads again that are in flight already.
    driver.publish(0);
    driver.publish(2);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(engine->started.size(), IoEngine::depth);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(engine->started.size(), IoEngine::depth);
    engine->held = false;
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(driver.used_index(), IoEngine::depth + 2);
}

TEST_F(ServiceTest, AGuestThatNeverEndsLetsAStopThrough) {
    make();
    service->begin_stop();
    // A driver that adds one more whenever a chain is looked at. Each is answered at once, without a disk.
    ram.set(header_at, virtio_blk_outhdr{77, 0, 0});
    driver.set_descriptor(driver.descriptors, 0, header_at, 16, flag_next, 1);
    driver.set_descriptor(driver.descriptors, 1, status_at, 1, flag_write, 0);
    const auto busy = [this](std::uint64_t address, std::uint64_t bytes) {
        if (address == header_at)
            driver.publish(0);
        return ram.at(address, bytes);
    };
    service->start(*Queue::create(driver.setup(), busy), true, link);
    driver.publish(0);
    EXPECT_EQ(service->step(now), Clock::duration{0}) << "more to do";
    EXPECT_EQ(driver.used_index(), most_descriptors);
    service->begin_stop();
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(driver.used_index(), most_descriptors);
}

TEST_F(ServiceTest, WritesLastWhereTheDriverDoesNotFlush) {
    make({{}, {}}, false, false);
    add(VIRTIO_BLK_T_OUT, 512);
    static_cast<void>(service->step(now));
    ASSERT_EQ(engine->started.size(), 1U);
    EXPECT_TRUE(engine->started[0].durable);
    make({{}, {}}, false, true);
    driver.restart();
    add(VIRTIO_BLK_T_OUT, 512);
    static_cast<void>(service->step(now));
    ASSERT_EQ(engine->started.size(), 1U);
    EXPECT_FALSE(engine->started[0].durable);
}

// The descriptor's mode would refuse too, but later.
TEST_F(ServiceTest, NoWriteReachesAReadOnlyDisk) {
    auto own = std::make_unique<Recorder>();
    engine = own.get();
    DiskFacts disk;
    disk.sectors = 1024;
    disk.read_only = true;
    service.emplace(disk, std::move(own), RateLimit{{}, {}});
    service->start(*Queue::create(driver.setup(), ram.callable()), true, link);
    for (const auto type : {VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES}) {
        ram.set(data_at, virtio_blk_discard_write_zeroes{0, 1, 0});
        add(static_cast<std::uint32_t>(type), type == VIRTIO_BLK_T_OUT ? 512 : 16);
        EXPECT_EQ(service->step(now), std::nullopt);
        EXPECT_EQ(ram.get<std::uint8_t>(status_at), VIRTIO_BLK_S_IOERR) << type;
        ram.set(status_at, std::uint8_t{0xee});
    }
    EXPECT_TRUE(engine->started.empty());
}

TEST_F(ServiceTest, KicksAreAskedForOnlyWhileItSleeps) {
    make({{}, {}}, true);
    add(VIRTIO_BLK_T_FLUSH, 0);
    static_cast<void>(service->step(now));
    EXPECT_EQ(driver.available_event(), 1);
    make(RateLimit{10, {}}, true);
    driver.restart();
    add(VIRTIO_BLK_T_FLUSH, 0);
    add(VIRTIO_BLK_T_FLUSH, 0);
    add(VIRTIO_BLK_T_FLUSH, 0);
    EXPECT_TRUE(service->step(now));
    EXPECT_EQ(driver.available_event(), 1) << "left behind: the limit says when to look again";
}

TEST_F(ServiceTest, OneComplaintAndNoMoreWork) {
    make();
    driver.add({{header_at, 15, false}, {status_at, 1, true}});
    add(VIRTIO_BLK_T_FLUSH, 0);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_THAT(link.reasons, testing::ElementsAre("a block request without a header"));
    EXPECT_TRUE(engine->started.empty());
}

TEST_F(ServiceTest, NoRoomForAStatus) {
    make();
    driver.add({{header_at, 16, false}});
    EXPECT_EQ(service->step(now), std::nullopt);
    EXPECT_THAT(link.reasons, testing::ElementsAre("a block request without room for its status"));
}

TEST_F(ServiceTest, WhatTheKernelPutsOffIsTriedAgainButNotForEver) {
    make();
    engine->held = true;
    add(VIRTIO_BLK_T_IN, 512);
    static_cast<void>(service->step(now));
    engine->held = false;
    for (std::size_t i = 1; driver.used_index() == 0; ++i) {
        ASSERT_LT(i, 100U);
        ASSERT_EQ(engine->started.size(), i);
        engine->pending.back().result = -EAGAIN;
        static_cast<void>(service->step(now));
    }
    EXPECT_EQ(ram.get<std::uint8_t>(status_at), VIRTIO_BLK_S_IOERR);
    EXPECT_EQ(engine->started.size(), 17U);
}

TEST(BlockConfiguration, SaysWhatIsOffered) {
    DiskFacts disk;
    disk.sectors = 0x1'0000'0001;
    disk.block_bytes = 4096;
    const auto bytes = block_configuration(disk);
    ASSERT_EQ(bytes.size(), 60U);
    virtio_blk_config config{};
    std::memcpy(&config, bytes.data(), bytes.size());
    EXPECT_EQ(config.capacity, 0x1'0000'0001U);
    EXPECT_EQ(config.seg_max, 254U);
    EXPECT_EQ(config.blk_size, 4096U);
    EXPECT_EQ(config.discard_sector_alignment, 8U);
    EXPECT_EQ(config.max_discard_seg, 1U);
    EXPECT_EQ(config.max_write_zeroes_seg, 1U);
    const auto features = block_features(disk);
    EXPECT_EQ(features & 1U << VIRTIO_BLK_F_RO, 0U);
    EXPECT_NE(features & 1U << VIRTIO_BLK_F_DISCARD, 0U);
    disk.read_only = true;
    EXPECT_NE(block_features(disk) & 1U << VIRTIO_BLK_F_RO, 0U);
    EXPECT_EQ(block_features(disk) & (1U << VIRTIO_BLK_F_DISCARD | 1U << VIRTIO_BLK_F_WRITE_ZEROES), 0U);
}

} // namespace
} // namespace nestbed::virtio
