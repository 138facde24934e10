#include "core/device/fw_cfg.hpp"

#include <array>
#include <cstdint>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

using test::in;
using test::out;

constexpr std::uint16_t selector = FwCfg::selector_port;
constexpr std::uint16_t data = selector + 1;

std::uint64_t item(FwCfg& device, std::uint16_t key, unsigned bytes) {
    out(device, selector, key, 2);
    std::uint64_t number = 0;
    for (unsigned i = 0; i < bytes; ++i)
        number |= std::uint64_t{in(device, data)} << 8 * i;
    return number;
}

struct Item {
    const char* what;
    std::uint16_t key;
    unsigned bytes;
    std::uint64_t value;
};

TEST(FwCfg, WhatImagesAskFor) {
    for (const auto cpus : std::to_array<std::uint16_t>({1, 2, 254, 255, 256, 257, 288, 1024})) {
        FwCfg device{fw_cfg_items(cpus, 0x1'2345'6000)};
        for (const auto& [what, key, bytes, value] : {
                 Item{"signature", 0x00, 4, 0x55'4d'45'51},
                 Item{"features, no DMA", 0x01, 4, 1},
                 Item{"memory", 0x03, 8, 0x1'2345'6000},
                 Item{"CPUs", 0x05, 2, cpus},
                 Item{"most CPUs", 0x0f, 2, cpus},
                 Item{"most memory, no limit", 0x11, 8, 0},
                 Item{"directory of files, empty", 0x19, 4, 0},
                 Item{"unknown", 0x7777, 8, 0},
                 Item{"for writing", 0x4005, 2, cpus},
                 Item{"local to the architecture", 0x8005, 2, 0},
             }) {
            EXPECT_EQ(item(device, key, bytes), value) << what;
            EXPECT_EQ(in(device, data), 0U) << what << ": behind its end";
        }
    }
}

TEST(FwCfg, TheTableCanBeExtended) {
    auto items = fw_cfg_items(1, 0);
    items[FwCfg::max_memory] = fw_cfg_number(0x1122'3344'5566'7788, 8);
    items[0x8003] = {std::byte{7}};
    FwCfg device{std::move(items)};
    EXPECT_EQ(item(device, 0x11, 8), 0x1122'3344'5566'7788U);
    EXPECT_EQ(item(device, 0x8003, 2), 7U);
}

TEST(FwCfg, Accesses) {
    FwCfg device{fw_cfg_items(0x1234, 0)};
    EXPECT_EQ(in(device, data), 0U) << "nothing is selected";
    out(device, selector, 0x05, 2);
    EXPECT_EQ(in(device, data), 0x34U);
    out(device, selector, 0x00, 1); // neither a selector
    out(device, data, 0x00, 2);     // nor here
    EXPECT_EQ(in(device, data), 0x12U);
    out(device, selector, 0x05, 2);
    EXPECT_EQ(in(device, data, 2), 0x1234U);
    out(device, selector, 0x00, 2);
    std::array<std::byte, 6> text{};
    device.access({.vcpu = 0, .port = data, .out = false, .width = 1, .data = text}); // REP INSB
    EXPECT_THAT(text, testing::ElementsAre(std::byte{'Q'}, std::byte{'E'}, std::byte{'M'}, std::byte{'U'},
                                           std::byte{0}, std::byte{0}));
    out(device, selector, 0x05, 2);
    EXPECT_EQ(in(device, selector), 0x34U) << "the selector's port reads data";
}

} // namespace
} // namespace nestbed::device
