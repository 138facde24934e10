#include "core/virtio/mmio_transport.hpp"

#include <array>
#include <atomic>
#include <thread>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest.hpp"

namespace nestbed::virtio {
namespace {

using namespace test;

// Linux's numbers, where it has them.
static_assert(static_cast<int>(MmioRegister::device_features_sel) == VIRTIO_MMIO_DEVICE_FEATURES_SEL);
static_assert(static_cast<int>(MmioRegister::driver_features) == VIRTIO_MMIO_DRIVER_FEATURES);
static_assert(static_cast<int>(MmioRegister::driver_features_sel) == VIRTIO_MMIO_DRIVER_FEATURES_SEL);
static_assert(static_cast<int>(MmioRegister::queue_sel) == VIRTIO_MMIO_QUEUE_SEL);
static_assert(static_cast<int>(MmioRegister::queue_num_max) == VIRTIO_MMIO_QUEUE_NUM_MAX);
static_assert(static_cast<int>(MmioRegister::queue_num) == VIRTIO_MMIO_QUEUE_NUM);
static_assert(static_cast<int>(MmioRegister::queue_ready) == VIRTIO_MMIO_QUEUE_READY);
static_assert(static_cast<int>(MmioRegister::queue_notify) == VIRTIO_MMIO_QUEUE_NOTIFY);
static_assert(static_cast<int>(MmioRegister::interrupt_status) == VIRTIO_MMIO_INTERRUPT_STATUS);
static_assert(static_cast<int>(MmioRegister::interrupt_ack) == VIRTIO_MMIO_INTERRUPT_ACK);
static_assert(static_cast<int>(MmioRegister::status) == VIRTIO_MMIO_STATUS);
static_assert(static_cast<int>(MmioRegister::queue_desc_low) == VIRTIO_MMIO_QUEUE_DESC_LOW);
static_assert(static_cast<int>(MmioRegister::queue_driver_high) == VIRTIO_MMIO_QUEUE_AVAIL_HIGH);
static_assert(static_cast<int>(MmioRegister::queue_device_high) == VIRTIO_MMIO_QUEUE_USED_HIGH);
static_assert(static_cast<int>(MmioRegister::shm_base_high) == VIRTIO_MMIO_SHM_BASE_HIGH);
static_assert(static_cast<int>(MmioRegister::config_generation) == VIRTIO_MMIO_CONFIG_GENERATION);
static_assert(static_cast<int>(MmioRegister::config) == VIRTIO_MMIO_CONFIG);
static_assert(interrupt_used_buffer == VIRTIO_MMIO_INT_VRING &&
              interrupt_configuration == VIRTIO_MMIO_INT_CONFIG);
static_assert(status_driver_ok == VIRTIO_CONFIG_S_DRIVER_OK &&
              status_needs_reset == VIRTIO_CONFIG_S_NEEDS_RESET);
static_assert(feature_version_1 == std::uint64_t{1} << VIRTIO_F_VERSION_1);

constexpr std::uint64_t own_feature = 1U << 5;
constexpr std::array<std::uint16_t, 2> sizes{16, 64};

class FakeDevice final : public Device {
public:
    [[nodiscard]] std::uint32_t id() const override { return 42; }
    [[nodiscard]] std::uint64_t features() const override {
        return own_feature | feature_event_idx | feature_indirect_desc;
    }
    [[nodiscard]] std::span<const std::uint16_t> queue_sizes() const override { return sizes; }
    [[nodiscard]] std::span<const std::byte> configuration() const override { return space; }
    void start(std::uint64_t features, std::vector<std::optional<Queue>> started,
               Transport& transport) override {
        ++starts;
        accepted = features;
        queues = std::move(started);
        link = &transport;
    }
    void notify(std::uint16_t queue) override { notified.push_back(queue); }
    bool stop() override {
        ++stops;
        return stops_well;
    }

    std::vector<std::byte> space{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5},
                                 std::byte{6}, std::byte{7}, std::byte{8}, std::byte{9}, std::byte{10}};
    int starts = 0;
    int stops = 0;
    bool stops_well = true;
    std::uint64_t accepted = 0;
    std::vector<std::optional<Queue>> queues;
    std::vector<std::uint16_t> notified;
    Transport* link = nullptr;
};

class TransportTest : public testing::Test {
protected:
    Ram ram;
    DriverQueue queue{ram, 16};
    CountingLine line;
    FakeDevice device;
    MmioTransport transport{Registers::base, device, ram.callable(), line};
    Registers registers{transport};

    static constexpr auto up = status_acknowledge | status_driver | status_features_ok | status_driver_ok;
    void bring_up() { ASSERT_TRUE(registers.bring_up(feature_version_1, queue.setup())); }
};

TEST_F(TransportTest, SaysWhatItIs) {
    EXPECT_EQ(registers.read(MmioRegister::magic_value), 0x74726976U);
    EXPECT_EQ(registers.read(MmioRegister::version), 2U);
    EXPECT_EQ(registers.read(MmioRegister::device_id), 42U);
    EXPECT_EQ(registers.offered(), device.features() | feature_version_1);
    registers.write(MmioRegister::device_features_sel, 2);
    EXPECT_EQ(registers.read(MmioRegister::device_features), 0U);
    for (const auto& [index, most] : {std::pair{0U, 16U}, {1U, 64U}, {2U, 0U}, {0xffff'ffffU, 0U}}) {
        registers.write(MmioRegister::queue_sel, index);
        EXPECT_EQ(registers.read(MmioRegister::queue_num_max), most) << index;
        EXPECT_EQ(registers.read(MmioRegister::queue_ready), 0U);
    }
    for (const auto absent : {MmioRegister::shm_len_low, MmioRegister::shm_len_high,
                              MmioRegister::shm_base_low, MmioRegister::shm_base_high})
        EXPECT_EQ(registers.read(absent), 0xffff'ffffU);
    EXPECT_EQ(registers.read(MmioRegister::queue_notify), 0U) << "write-only";
    EXPECT_EQ(registers.read<std::uint32_t>(0x0f0), 0U) << "reserved";
}

TEST_F(TransportTest, RegistersAre32BitsWide) {
    EXPECT_EQ(registers.read<std::uint8_t>(0), 0);
    EXPECT_EQ(registers.read<std::uint16_t>(0), 0);
    EXPECT_EQ(registers.read<std::uint64_t>(0), 0U);
    EXPECT_EQ(registers.read<std::uint32_t>(2), 0U);
    registers.write<std::uint8_t>(0x70, 1);
    registers.write<std::uint64_t>(0x70, 1);
    registers.write<std::uint16_t>(0x70, 1);
    EXPECT_EQ(registers.status(), 0U);
}

TEST_F(TransportTest, TheConfigurationReadsInAnyWidth) {
    EXPECT_EQ(registers.read<std::uint8_t>(0x103), 4);
    EXPECT_EQ(registers.read<std::uint16_t>(0x102), 0x0403);
    EXPECT_EQ(registers.read<std::uint32_t>(0x104), 0x0807'0605U);
    EXPECT_EQ(registers.read<std::uint64_t>(0x100), 0x0807'0605'0403'0201U);
    EXPECT_EQ(registers.read<std::uint32_t>(0x108), 0x0000'0a09U) << "across its end";
    EXPECT_EQ(registers.read<std::uint64_t>(0x10a), 0U) << "behind its end";
    EXPECT_EQ(registers.read<std::uint8_t>(0x1ff), 0);
    registers.write<std::uint32_t>(0x100, 0);
    EXPECT_EQ(registers.read<std::uint8_t>(0x100), 1);
}

struct FeatureCase {
    std::uint64_t features;
    bool taken;
};

TEST_F(TransportTest, FeaturesAreAgreedUponOnce) {
    for (const auto& [features, taken] :
         {FeatureCase{feature_version_1, true}, FeatureCase{feature_version_1 | own_feature, true},
          FeatureCase{feature_version_1 | feature_event_idx | feature_indirect_desc | own_feature, true},
          FeatureCase{0, false}, FeatureCase{own_feature, false}, FeatureCase{feature_version_1 | 1, false},
          FeatureCase{feature_version_1 << 1 | feature_version_1, false}}) {
        registers.reset();
        EXPECT_EQ(registers.negotiate(features), taken) << std::hex << features;
        if (taken) { // too late, and without effect
            registers.write(MmioRegister::driver_features_sel, 0);
            registers.write(MmioRegister::driver_features, 1);
        }
        registers.write(MmioRegister::status, up);
        EXPECT_EQ(registers.status(), taken ? up : status_acknowledge | status_driver);
        EXPECT_EQ(device.starts, taken ? 1 : 0);
        if (taken) {
            EXPECT_EQ(device.accepted, features);
        }
        device.starts = 0;
    }
    registers.reset();
    registers.write(MmioRegister::driver_features_sel, 2);
    registers.write(MmioRegister::driver_features, 1);
    EXPECT_FALSE(registers.negotiate(feature_version_1)) << "a feature that nobody knows";
}

TEST_F(TransportTest, StatusGoesOneWay) {
    registers.write(MmioRegister::status, status_features_ok);
    EXPECT_EQ(registers.status(), 0U) << "without a driver";
    registers.write(MmioRegister::status, status_acknowledge | status_driver_ok);
    EXPECT_EQ(registers.status(), status_acknowledge);
    registers.write(MmioRegister::status, status_needs_reset);
    EXPECT_EQ(registers.status(), status_acknowledge) << "not the driver's to set";
    registers.reset();
    bring_up();
    registers.write(MmioRegister::status, status_acknowledge);
    EXPECT_EQ(registers.status(), up) << "bits are cleared by a reset only";
    EXPECT_EQ(device.starts, 1);
    registers.write(MmioRegister::status, up);
    EXPECT_EQ(device.starts, 1);
    registers.write(MmioRegister::status, up | status_failed);
    EXPECT_EQ(device.stops, 2) << "one by the reset, one by the failure";
    registers.kick();
    EXPECT_TRUE(device.notified.empty());
}

TEST_F(TransportTest, QueuesArriveAsSetUp) {
    ASSERT_TRUE(registers.negotiate(feature_version_1 | feature_event_idx));
    DriverQueue second{ram, 32, Ram::border};
    registers.set_up(1, second.setup());
    registers.write(MmioRegister::status, up);
    ASSERT_EQ(device.queues.size(), 2U);
    EXPECT_FALSE(device.queues[0]);
    ASSERT_TRUE(device.queues[1]);
    EXPECT_EQ(device.queues[1]->size(), 32);
    second.add({{Ram::start, 4, true}});
    EXPECT_TRUE(*device.queues[1]->pop());
    EXPECT_FALSE(device.queues[1]->enable_notifications());
    EXPECT_EQ(second.available_event(), 1) << "with the features that were accepted";
    registers.write(MmioRegister::queue_notify, 0); // not there
    registers.write(MmioRegister::queue_notify, 1);
    registers.write(MmioRegister::queue_notify, 2);
    registers.write(MmioRegister::queue_notify, 0x1'0001);
    EXPECT_THAT(device.notified, testing::ElementsAre(1));
}

TEST_F(TransportTest, AQueueThatIsReadyStaysAsItIs) {
    ASSERT_TRUE(registers.negotiate(feature_version_1));
    registers.set_up(0, queue.setup());
    registers.write(MmioRegister::queue_num, 3);
    registers.write(MmioRegister::queue_desc_low, 0);
    registers.write(MmioRegister::status, up);
    EXPECT_EQ(registers.status(), up);
    ASSERT_TRUE(device.queues.at(0));
    EXPECT_EQ(device.queues[0]->size(), 16);
    registers.write(MmioRegister::queue_sel, 1);
    registers.write(MmioRegister::queue_ready, 1);
    EXPECT_EQ(registers.read(MmioRegister::queue_ready), 0U) << "too late";
    EXPECT_EQ(registers.status(), up);
    registers.write(MmioRegister::queue_sel, 0);
    registers.write(MmioRegister::queue_ready, 0);
    EXPECT_EQ(registers.read(MmioRegister::queue_ready), 0U);
    EXPECT_EQ(device.stops, 1) << "its memory is the driver's again";
    registers.kick();
    EXPECT_TRUE(device.notified.empty());
}

TEST_F(TransportTest, AQueueInTheWrongPlaceNeedsAReset) {
    for (int bad = 0; bad < 4; ++bad) {
        registers.reset();
        ASSERT_TRUE(registers.negotiate(feature_version_1));
        auto setup = queue.setup();
        if (bad == 0)
            setup.size = 32; // 16 at most
        else if (bad == 1)
            setup.descriptors = 0x8'0000'0000;
        else if (bad == 2)
            setup.available += 1;
        else
            setup.used = Ram::border - 4;
        registers.set_up(0, setup);
        EXPECT_EQ(registers.read(MmioRegister::queue_ready), 0U) << bad;
        EXPECT_EQ(registers.status() & status_needs_reset, status_needs_reset) << bad;
        registers.write(MmioRegister::status, up);
        EXPECT_EQ(device.starts, 0);
    }
    EXPECT_EQ(line.edges(), 0) << "section 2.1.2: only once the driver is there";
}

TEST_F(TransportTest, AResetLeavesNothing) {
    bring_up();
    device.link->interrupt();
    registers.reset();
    EXPECT_EQ(registers.status(), 0U);
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status), 0U);
    EXPECT_EQ(registers.read(MmioRegister::queue_ready), 0U);
    EXPECT_EQ(device.stops, 1);
    EXPECT_FALSE(registers.negotiate(0)) << "features are forgotten";
    registers.reset();
    bring_up();
    EXPECT_EQ(device.starts, 2);
}

TEST_F(TransportTest, AResetThatFailsIsSeen) {
    bring_up();
    device.stops_well = false;
    registers.reset();
    EXPECT_EQ(registers.status(), up | status_needs_reset);
    device.stops_well = true;
    registers.reset();
    EXPECT_EQ(registers.status(), 0U);
}

TEST_F(TransportTest, EachEventIsAnEdge) {
    bring_up();
    device.link->interrupt();
    device.link->interrupt(); // its bit is set already, but may have been read before
    EXPECT_EQ(line.edges(), 2);
    EXPECT_FALSE(line.level());
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status), interrupt_used_buffer);
    device.link->configuration_changed();
    EXPECT_EQ(line.edges(), 3);
    EXPECT_EQ(registers.read(MmioRegister::config_generation), 1U);
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status),
              interrupt_used_buffer | interrupt_configuration);
    registers.write(MmioRegister::interrupt_ack, interrupt_used_buffer);
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status), interrupt_configuration);
    EXPECT_EQ(line.edges(), 4) << "the other cause is still there";
    registers.write(MmioRegister::interrupt_ack, interrupt_used_buffer);
    EXPECT_EQ(line.edges(), 4) << "nothing was acknowledged";
    registers.write(MmioRegister::interrupt_ack, interrupt_configuration);
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status), 0U);
    EXPECT_EQ(line.edges(), 4);
}

TEST_F(TransportTest, ADriverThatBreaksTheRulesIsTold) {
    bring_up();
    device.link->needs_reset("because");
    device.link->needs_reset("once more");
    EXPECT_EQ(registers.status(), up | status_needs_reset);
    EXPECT_EQ(registers.read(MmioRegister::interrupt_status), interrupt_configuration);
    EXPECT_EQ(line.edges(), 1);
    registers.kick();
    EXPECT_TRUE(device.notified.empty());
    registers.write(MmioRegister::status, up | status_failed);
    EXPECT_EQ(registers.status(), up | status_needs_reset);
}

// What takes an edge for one interrupt, as an IOAPIC does: a handler that runs once an edge, reads the cause,
// acknowledges it and then looks at what was done.
TEST_F(TransportTest, NoInterruptIsLost) {
    bring_up();
    constexpr std::uint32_t events = 20'000;
    std::atomic<std::uint32_t> produced{0};
    std::vector<std::thread> producers;
    for (int thread = 0; thread < 2; ++thread)
        producers.emplace_back([&] {
            for (std::uint32_t i = 0; i < events; ++i) {
                ++produced;
                device.link->interrupt();
            }
        });
    int handled = 0;
    std::uint32_t seen = 0;
    const auto handle = [&] {
        if (handled == line.edges())
            return;
        handled = line.edges();
        const auto cause = registers.read(MmioRegister::interrupt_status);
        registers.write(MmioRegister::interrupt_ack, cause);
        if (cause != 0)
            seen = produced;
    };
    EXPECT_TRUE(soon([&] {
        for (int i = 0; i < 1000; ++i)
            handle();
        return seen == 2 * events;
    })) << seen;
    for (auto& producer : producers)
        producer.join();
}

} // namespace
} // namespace nestbed::virtio
