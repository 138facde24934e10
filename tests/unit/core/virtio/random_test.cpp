#include "core/virtio/random.hpp"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/virtio/mmio_transport.hpp"
#include "guest.hpp"

namespace nestbed::virtio {
namespace {

using namespace test;

constexpr std::uint64_t data_at = Ram::start + 0x10000;

class RandomTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(registers.bring_up(feature_version_1, queue.setup())); }

    Ram ram;
    DriverQueue queue{ram, 64};
    CountingLine line;
    Random random;
    MmioTransport transport{Registers::base, random, ram.callable(), line};
    Registers registers{transport};
};

TEST_F(RandomTest, FillsBuffersAndNothingElse) {
    EXPECT_EQ(registers.read(MmioRegister::device_id), 4U);
    const auto head = queue.add({{data_at, 32, true}, {data_at + 64, 32, true}});
    registers.kick();
    EXPECT_THAT(queue.take_used(), testing::ElementsAre(Used{head, 64}));
    EXPECT_EQ(line.edges(), 1);
    const std::string zeros(32, '\0');
    EXPECT_NE(ram.text(data_at, 32), zeros);
    EXPECT_EQ(ram.text(data_at + 32, 32), zeros);
    EXPECT_NE(ram.text(data_at + 64, 32), zeros);
    EXPECT_EQ(ram.text(data_at + 96, 32), zeros);
}

TEST_F(RandomTest, NeverTheSame) {
    std::set<std::string> seen;
    for (int i = 0; i < 200; ++i) {
        queue.add({{data_at, 16, true}});
        registers.kick();
        seen.insert(ram.text(data_at, 16));
    }
    EXPECT_EQ(seen.size(), 200U);
    EXPECT_EQ(queue.used_index(), 200);
}

TEST_F(RandomTest, AHugeRequestGetsALittle) {
    const auto head = queue.add({{data_at, 0x10000, true}});
    registers.kick();
    EXPECT_THAT(queue.take_used(), testing::ElementsAre(Used{head, Random::most_bytes}));
    EXPECT_EQ(ram.text(data_at + Random::most_bytes, 16), std::string(16, '\0'));
}

TEST_F(RandomTest, AllThatIsThereByOneKick) {
    for (std::uint64_t i = 0; i < 64; ++i)
        queue.add({{data_at + 16 * i, 16, true}});
    registers.kick();
    EXPECT_EQ(queue.used_index(), 64);
    EXPECT_EQ(line.edges(), 1);
}

TEST_F(RandomTest, SomethingToReadIsARuleBroken) {
    queue.add({{data_at, 16, false}});
    registers.kick();
    EXPECT_EQ(registers.status() & status_needs_reset, status_needs_reset);
    EXPECT_EQ(queue.used_index(), 0);
    queue.add({{data_at, 16, true}});
    registers.kick();
    EXPECT_EQ(queue.used_index(), 0) << "only a reset helps";
    registers.reset();
    queue.restart();
    ASSERT_TRUE(registers.bring_up(feature_version_1, queue.setup()));
    queue.add({{data_at, 16, true}});
    registers.kick();
    EXPECT_EQ(queue.used_index(), 1);
}

} // namespace
} // namespace nestbed::virtio
