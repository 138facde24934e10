#include "core/device/mmio_bus.hpp"

#include <array>
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::device {
namespace {

class Answers final : public MmioDevice {
public:
    explicit Answers(std::uint8_t answer) : _answer{answer} {}
    void access(const MmioAccess& access) override {
        last = access;
        for (auto& byte : access.data)
            if (!access.write)
                byte = std::byte{_answer};
    }

    MmioAccess last;

private:
    std::uint8_t _answer;
};

struct Probe {
    std::uint64_t address;
    std::uint8_t width;
    std::uint8_t answer; // 0xff where nobody is
};

TEST(MmioBus, AnAccessReachesTheRangeThatHoldsAllOfIt) {
    MmioBus bus;
    Answers high{0xc};
    Answers low{0xa};
    Answers middle{0xb};
    Answers one{0xd};
    bus.attach(0xffff'ffff'ffff'f000, 0x1000, high); // up to the last address
    bus.attach(0x1000, 0x1000, low);
    bus.attach(0x2000, 0x10, middle); // no gap before
    bus.attach(0x3000, 1, one);
    for (const auto& [address, width, answer] : {
             Probe{0, 1, 0xff},
             Probe{0xfff, 1, 0xff},
             Probe{0xfff, 2, 0xff},
             Probe{0x1000, 1, 0xa},
             Probe{0x1000, 8, 0xa},
             Probe{0x1fff, 1, 0xa},
             Probe{0x1fff, 2, 0xff},
             Probe{0x1ffc, 4, 0xa},
             Probe{0x2000, 8, 0xb},
             Probe{0x200f, 1, 0xb},
             Probe{0x200c, 8, 0xff},
             Probe{0x2010, 1, 0xff},
             Probe{0x3000, 1, 0xd},
             Probe{0x3000, 2, 0xff},
             Probe{0x3001, 1, 0xff},
             Probe{0xffff'ffff'ffff'efff, 1, 0xff},
             Probe{0xffff'ffff'ffff'f000, 8, 0xc},
             Probe{0xffff'ffff'ffff'ffff, 1, 0xc},
             Probe{0xffff'ffff'ffff'fffc, 8, 0xff},
         }) {
        std::vector<std::byte> data(width);
        EXPECT_EQ(bus.dispatch({.vcpu = 0, .address = address, .write = false, .width = width, .data = data}),
                  answer != 0xff)
            << std::hex << address << '/' << int{width};
        EXPECT_THAT(data, testing::Each(std::byte{answer})) << std::hex << address << '/' << int{width};
    }
}

TEST(MmioBus, TheDeviceGetsTheAccessAsItIs) {
    MmioBus bus;
    Answers device{0};
    bus.attach(0xfec0'0000, 0x1000, device);
    std::array data{std::byte{1}, std::byte{2}};
    EXPECT_TRUE(bus.dispatch({.vcpu = 287, .address = 0xfec0'0010, .write = true, .width = 2, .data = data}));
    EXPECT_EQ(device.last.vcpu, 287U);
    EXPECT_EQ(device.last.address, 0xfec0'0010U);
    EXPECT_TRUE(device.last.write);
    EXPECT_EQ(device.last.data.data(), data.data());
}

TEST(MmioBus, WhatNobodyClaimsSwallowsWrites) {
    const MmioBus bus;
    std::array data{std::byte{1}, std::byte{2}};
    const auto written = data;
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .address = 0, .write = true, .width = 2, .data = data}));
    EXPECT_EQ(data, written);
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .address = 0, .write = false, .width = 0, .data = {}}));
}

} // namespace
} // namespace nestbed::device
