#include "core/device/exit_counter.hpp"

#include <array>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::device {
namespace {

TEST(ExitCounter, CountsEachVcpusOwnAccesses) {
    ExitCounter counter{3};
    std::array<std::byte, 4> data{};
    for (int i = 0; i < 5; ++i)
        counter.access({.vcpu = 1, .port = 0x5e4, .out = true, .width = 4, .data = data});
    counter.access({.vcpu = 2, .port = 0x5e4, .out = false, .width = 4, .data = data});
    EXPECT_EQ(counter.count(0), 0U);
    EXPECT_EQ(counter.count(1), 5U);
    EXPECT_EQ(counter.count(2), 1U);
}

TEST(ExitCounter, ReadsAllOnesAndLeavesWritesAlone) {
    ExitCounter counter{1};
    std::array<std::byte, 4> data{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    const auto written = data;
    counter.access({.vcpu = 0, .port = 0x5e4, .out = true, .width = 4, .data = data});
    EXPECT_EQ(data, written);
    counter.access({.vcpu = 0, .port = 0x5e4, .out = false, .width = 4, .data = data});
    for (const auto byte : data)
        EXPECT_EQ(byte, std::byte{0xff});
}

TEST(ExitCounter, CountsLoadsAndStores) {
    ExitCounter counter{2};
    std::array<std::byte, 4> data{};
    counter.access({.vcpu = 1, .address = 0xd000'0000, .write = true, .width = 4, .data = data});
    EXPECT_EQ(data, (std::array<std::byte, 4>{}));
    counter.access({.vcpu = 1, .address = 0xd000'0000, .write = false, .width = 4, .data = data});
    for (const auto byte : data)
        EXPECT_EQ(byte, std::byte{0xff});
    EXPECT_EQ(counter.count(0), 0U);
    EXPECT_EQ(counter.count(1), 2U);
}

TEST(ExitCounter, ThreadsDoNotDisturbOneAnother) {
    constexpr std::uint32_t vcpus = 4;
    constexpr std::uint64_t accesses = 20'000;
    ExitCounter counter{vcpus};
    {
        std::vector<std::jthread> threads;
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
            threads.emplace_back([&counter, vcpu] {
                std::array<std::byte, 1> data{};
                for (std::uint64_t i = 0; i < accesses; ++i)
                    counter.access({.vcpu = vcpu, .port = 0, .out = true, .width = 1, .data = data});
            });
    }
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        EXPECT_EQ(counter.count(vcpu), accesses);
}

} // namespace
} // namespace nestbed::device
