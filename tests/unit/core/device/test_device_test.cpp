#include "core/device/test_device.hpp"

#include <array>
#include <cstdint>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

using test::in;
using test::load;
using test::out;
using test::store;

class TestDeviceTest : public testing::Test {
protected:
    std::array<test::RecordedLine, 3> lines;
    std::vector<std::uint64_t> flushed;
    TestDevice device{{.interrupt_lines = {&lines[0], nullptr, &lines[2]},
                       .flush_page = [this](std::uint64_t page) { flushed.push_back(page); }}};
};

TEST_F(TestDeviceTest, DrivesLines) {
    out(device, 0x2002, 1);
    out(device, 0x2002, 0x80);
    out(device, 0x2002, 0);
    out(device, 0x2001, 1); // not connected
    out(device, 0x2003, 1); // nor this
    out(device, 0x2017, 1);
    EXPECT_THAT(lines[2].levels, testing::ElementsAre(true, true, false));
    EXPECT_THAT(lines[0].levels, testing::IsEmpty());
    EXPECT_EQ(in(device, 0x2000), 0xffU);
    out(device, 0x2000, 0x0100, 2);
    EXPECT_THAT(lines[0].levels, testing::ElementsAre(false));
}

struct Scratch {
    std::uint16_t port;
    std::uint8_t width;
    std::uint32_t value;
    std::uint32_t all; // four bytes afterwards
};

TEST_F(TestDeviceTest, ScratchPortsReadBack) {
    for (const auto& [port, width, value, all] : {
             Scratch{0xe0, 4, 0x1234'5678, 0x1234'5678}, Scratch{0xe0, 1, 0xaa, 0x1234'56aa},
             Scratch{0xe2, 1, 0xbb, 0x12bb'56aa}, Scratch{0xe2, 2, 0xccdd, 0xccdd'56aa},
             Scratch{0xe1, 2, 0x9988, 0xcc99'88aa}, Scratch{0xe8, 1, 0x01, 0xcc99'8801}, // the same once more
             Scratch{0xeb, 1, 0x02, 0x0299'8801},
             Scratch{0xe3, 4, 0xffff'ff44, 0x4499'8801}, // what is beyond is lost
         }) {
        out(device, port, value, width);
        EXPECT_EQ(in(device, 0xe0, 4), all) << std::hex << port;
        EXPECT_EQ(in(device, 0xe8, 4), all) << std::hex << port;
    }
    EXPECT_EQ(in(device, 0xe2, 2), 0x4499U);
    EXPECT_EQ(in(device, 0xe3, 4), 0xffff'ff44U);
    std::array<std::byte, 64> text{};
    device.access({.vcpu = 0, .port = 0xe0, .out = false, .width = 1, .data = text});
    EXPECT_THAT(text, testing::Each(std::byte{0x01})) << "REP INSB reads one port";
    EXPECT_THAT(flushed, testing::IsEmpty());
}

TEST_F(TestDeviceTest, FlushesThePageOfAnAddress) {
    out(device, 0xe4, 0x1234'5678, 4);
    EXPECT_THAT(flushed, testing::ElementsAre(0x1234'5000U));
    out(device, 0xe4, 0x1234'5678, 2);
    out(device, 0xe5, 0x1234'5678, 4);
    EXPECT_EQ(in(device, 0xe4, 4), 0xffff'ffffU);
    EXPECT_EQ(flushed.size(), 1U);
    EXPECT_EQ(in(device, 0xe0, 4), 0U);
    TestDevice nobody{{}};
    out(nobody, 0xe4, 0x1000, 4);
    out(nobody, 0x2000, 1);
}

TEST_F(TestDeviceTest, TheWindowIsLikeMemory) {
    PortBus ports;
    MmioBus memory;
    device.attach_to(ports, memory);
    constexpr auto last = TestDevice::window + TestDevice::window_bytes - 8;
    store(device, TestDevice::window, 0x1122'3344'5566'7788, 8);
    store(device, TestDevice::window + 2, 0xaa, 1);
    store(device, last, 0x99, 8);
    EXPECT_EQ(load(device, TestDevice::window, 8), 0x1122'3344'55aa'7788U);
    EXPECT_EQ(load(device, TestDevice::window + 1, 2), 0xaa77U);
    EXPECT_EQ(load(device, last, 8), 0x99U);
    EXPECT_EQ(load(device, last + 4, 8), 0xaaaa'aaaa'aaaa'aaaaU) << "would reach beyond: not touched";
    EXPECT_EQ(load(device, TestDevice::window - 1, 1), 0xaaU);
    std::array data{std::byte{0}};
    for (const std::uint64_t address : {0xff00'0000ULL, 0xff00'ffffULL})
        EXPECT_TRUE(
            memory.dispatch({.vcpu = 0, .address = address, .write = false, .width = 1, .data = data}));
    for (const std::uint64_t address : {0xfeff'ffffULL, 0xff01'0000ULL})
        EXPECT_FALSE(
            memory.dispatch({.vcpu = 0, .address = address, .write = false, .width = 1, .data = data}));
    for (const auto port : std::to_array<std::uint16_t>({0xe0, 0xe4, 0xeb, 0x2000, 0x2017}))
        EXPECT_TRUE(ports.dispatch({.vcpu = 0, .port = port, .out = false, .width = 1, .data = data}));
    for (const auto port : std::to_array<std::uint16_t>({0xdf, 0xec, 0x1fff, 0x2018}))
        EXPECT_FALSE(ports.dispatch({.vcpu = 0, .port = port, .out = false, .width = 1, .data = data}));
}

TEST_F(TestDeviceTest, AWideAccessIsOnePiece) {
    constexpr unsigned rounds = 20'000;
    std::vector<std::jthread> threads;
    for (const std::uint64_t value : {0x0101'0101U, 0xfefe'fefeU})
        threads.emplace_back([this, value] {
            for (unsigned i = 0; i < rounds; ++i) {
                store(device, TestDevice::window, value, 8);
                out(device, 0xe0, static_cast<std::uint32_t>(value), 4);
            }
        });
    for (unsigned i = 0; i < rounds; ++i) {
        ASSERT_THAT(load(device, TestDevice::window, 8), testing::AnyOf(0U, 0x0101'0101U, 0xfefe'fefeU));
        ASSERT_THAT(in(device, 0xe0, 4), testing::AnyOf(0U, 0x0101'0101U, 0xfefe'fefeU));
    }
}

} // namespace
} // namespace nestbed::device
