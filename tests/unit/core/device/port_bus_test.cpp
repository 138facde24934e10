#include "core/device/port_bus.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::device {
namespace {

using Data = std::vector<std::byte>;

// Remembers what it was asked and answers every IN with its own byte.
class Recorder final : public PortDevice {
public:
    explicit Recorder(std::uint8_t answer) : _answer{answer} {}
    void access(const PortAccess& access) override {
        ports.push_back(access.port);
        written.emplace_back(access.data.begin(), access.data.end());
        last_vcpu = access.vcpu;
        last_width = access.width;
        if (!access.out)
            std::ranges::fill(access.data, std::byte{_answer});
    }

    std::vector<std::uint16_t> ports;
    std::vector<Data> written;
    std::uint32_t last_vcpu = 0;
    std::uint8_t last_width = 0;

private:
    std::uint8_t _answer;
};

struct Unclaimed {
    std::uint8_t width;
    std::size_t repetitions;
};

class UnclaimedPort : public testing::TestWithParam<Unclaimed> {};

TEST_P(UnclaimedPort, ReadsAllOnesAndSwallowsWrites) {
    const PortBus bus;
    const auto [width, repetitions] = GetParam();
    Data data(width * repetitions, std::byte{0x5a});
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = 0x80, .out = true, .width = width, .data = data}));
    EXPECT_EQ(data, Data(data.size(), std::byte{0x5a})) << "what was written stays the guest's";
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = 0x80, .out = false, .width = width, .data = data}));
    EXPECT_EQ(data, Data(data.size(), std::byte{0xff}));
}

INSTANTIATE_TEST_SUITE_P(Widths, UnclaimedPort,
                         testing::Values(Unclaimed{1, 1}, Unclaimed{2, 1}, Unclaimed{4, 1}, Unclaimed{1, 64},
                                         Unclaimed{2, 7}, Unclaimed{4, 1024}, Unclaimed{4, 0}),
                         [](const auto& test_case) {
                             return std::to_string(test_case.param.repetitions) + "x" +
                                    std::to_string(test_case.param.width);
                         });

TEST(PortBus, TheDeviceGetsTheWholeAccess) {
    PortBus bus;
    Recorder device{0x42};
    bus.attach(0x5e4, 4, device);
    Data data{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    EXPECT_TRUE(bus.dispatch({.vcpu = 287, .port = 0x5e6, .out = true, .width = 2, .data = data}));
    EXPECT_THAT(device.ports, testing::ElementsAre(0x5e6));
    EXPECT_EQ(device.written.front(), data) << "a string OUT of two words";
    EXPECT_EQ(device.last_vcpu, 287U);
    EXPECT_EQ(device.last_width, 2U);
    EXPECT_TRUE(bus.dispatch({.vcpu = 0, .port = 0x5e4, .out = false, .width = 4, .data = data}));
    EXPECT_EQ(data, Data(4, std::byte{0x42}));
}

struct Probe {
    std::uint16_t port;
    char device; // a, b, or - for nobody
};

TEST(PortBus, RangesEndWhereTheySayUpToTheLastPort) {
    PortBus bus;
    Recorder a{0xa};
    Recorder b{0xb};
    bus.attach(0x100, 8, a);
    bus.attach(0xfff8, 8, b);
    for (const auto& [port, device] :
         {Probe{0, '-'}, Probe{7, '-'}, Probe{0xff, '-'}, Probe{0x100, 'a'}, Probe{0x107, 'a'},
          Probe{0x108, '-'}, Probe{0xfff7, '-'}, Probe{0xfff8, 'b'}, Probe{0xffff, 'b'}}) {
        Data data(1);
        EXPECT_EQ(bus.dispatch({.vcpu = 0, .port = port, .out = false, .width = 1, .data = data}),
                  device != '-');
        EXPECT_EQ(data.front(), std::byte{static_cast<unsigned char>(device == 'a'   ? 0xa
                                                                     : device == 'b' ? 0xb
                                                                                     : 0xff)})
            << std::hex << port;
    }
}

TEST(PortBus, OneRangeMayCoverAlmostAll) {
    PortBus bus;
    Recorder device{0};
    bus.attach(1, 0xffff, device);
    Data data(1);
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = 0, .out = false, .width = 1, .data = data}));
    EXPECT_TRUE(bus.dispatch({.vcpu = 0, .port = 1, .out = false, .width = 1, .data = data}));
    EXPECT_TRUE(bus.dispatch({.vcpu = 0, .port = 0xffff, .out = false, .width = 1, .data = data}));
}

} // namespace
} // namespace nestbed::device
