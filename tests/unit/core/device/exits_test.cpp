// The devices by which a guest ends its machine.
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"
#include "core/device/ending.hpp"
#include "core/device/exit_ports.hpp"
#include "core/device/power.hpp"

namespace nestbed::device {
namespace {

using test::in;
using test::out;
using test::out_string;

struct Recorded {
    std::vector<Ending> endings;
    FirstEnding first{[this](const Ending& ending) { endings.push_back(ending); }};
};

TEST(FirstEnding, TheFirstOfManyThreadsHasItsWay) {
    std::atomic<unsigned> calls{0};
    FirstEnding first{[&](const Ending&) { ++calls; }};
    {
        std::vector<std::jthread> threads;
        for (unsigned i = 0; i < 4; ++i)
            threads.emplace_back([&, i] {
                for (unsigned j = 0; j < 1000; ++j)
                    first.report({.exit_code = j, .vcpu = i});
            });
    }
    EXPECT_EQ(calls, 1U);
}

struct PowerWrite {
    const char* what;
    std::uint16_t port;
    std::uint8_t value;
    std::optional<Ending::Kind> ending;
    std::uint8_t read_back;
};

TEST(Power, Registers) {
    using enum Ending::Kind;
    for (const auto& [what, port, value, ending, read_back] : {
             PowerWrite{"S5", 0x600, 0x34, power_off, 0x14},
             PowerWrite{"S5 without SLP_EN", 0x600, 0x14, {}, 0x14},
             PowerWrite{"S3", 0x600, 0x2c, {}, 0x0c},
             PowerWrite{"SLP_EN alone", 0x600, 0x20, {}, 0x00},
             PowerWrite{"sleep status", 0x601, 0xff, {}, 0x00},
             PowerWrite{"reset register", 0xcf9, 0x06, reset, 0x06},
             PowerWrite{"soft reset", 0xcf9, 0x04, reset, 0x04},
             PowerWrite{"full reset", 0xcf9, 0x0e, reset, 0x0e},
             PowerWrite{"preparing a hard reset", 0xcf9, 0x02, {}, 0x02},
             PowerWrite{"reserved", 0xcf9, 0xf1, {}, 0x00},
             PowerWrite{"pulse reset", 0x64, 0xfe, reset, 0x01},
             PowerWrite{"read the output port", 0x64, 0xd0, {}, 0x01},
             PowerWrite{"keyboard data", 0x60, 0xfe, {}, 0x00},
         }) {
        Recorded recorded;
        Power power{recorded.first};
        PortBus bus;
        power.attach_to(bus);
        std::array data{std::byte{value}};
        EXPECT_TRUE(bus.dispatch({.vcpu = 3, .port = port, .out = true, .width = 1, .data = data})) << what;
        std::vector<Ending> expected;
        if (ending)
            expected.push_back({.kind = *ending, .vcpu = 3});
        EXPECT_EQ(recorded.endings, expected) << what;
        EXPECT_TRUE(bus.dispatch({.vcpu = 3, .port = port, .out = false, .width = 1, .data = data})) << what;
        EXPECT_EQ(std::to_integer<unsigned>(data[0]), read_back) << what;
    }
}

TEST(Power, LeavesTheRestOfTheDoubleWordToPci) {
    Recorded recorded;
    Power power{recorded.first};
    PortBus bus;
    power.attach_to(bus);
    for (const auto port :
         std::to_array<std::uint16_t>({0xcf8, 0xcfa, 0xcfb, 0xcfc, 0x5ff, 0x602, 0x61, 0x63, 0x65})) {
        std::array data{std::byte{0xfe}};
        EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = port, .out = true, .width = 1, .data = data}))
            << std::hex << port;
    }
    out(power, Power::sleep_control, 0x0014, 2);
    EXPECT_EQ(in(power, Power::sleep_control, 2), 0x0014U);
    EXPECT_EQ(in(power, Power::reset_control, 4), 0xffff'ff00U);
}

// What Linux's reboot=k waits for before it writes the command, and its probe for a keyboard controller.
TEST(Power, TheKeyboardControllerTakesCommandsAndIsNone) {
    Recorded recorded;
    Power power{recorded.first};
    EXPECT_EQ(in(power, Power::keyboard_command) & 2U, 0U);
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(in(power, Power::keyboard_command) & 1U, 1U);
        EXPECT_EQ(in(power, Power::keyboard_data), 0U);
    }
}

struct ExitWrite {
    std::uint32_t value;
    std::uint8_t width;
    std::uint64_t status;
};

TEST(DebugExit, TheStatusIsOdd) {
    for (const auto& [value, width, status] : {
             ExitWrite{0, 1, 1},
             ExitWrite{1, 1, 3},
             ExitWrite{0xff, 1, 0x1ff},
             ExitWrite{0x10, 2, 0x21},
             ExitWrite{0xffff, 2, 0x1'ffff},
             ExitWrite{0, 4, 1},
             ExitWrite{0x1234'5678, 4, 0x2468'acf1},
             ExitWrite{0xffff'ffff, 4, 0x1'ffff'ffff},
         }) {
        Recorded recorded;
        DebugExit device{recorded.first};
        EXPECT_EQ(in(device, DebugExit::usual_port, width), 0U);
        EXPECT_THAT(recorded.endings, testing::IsEmpty());
        out(device, DebugExit::usual_port, value, width);
        out(device, DebugExit::usual_port, 7, width);
        EXPECT_THAT(recorded.endings,
                    testing::ElementsAre(Ending{.kind = Ending::Kind::exit_code, .exit_code = status}));
    }
}

struct Text {
    const char* written;
    bool ends;
};

TEST(ShutdownPort, WantsTheWholeText) {
    for (const auto& [written, ends] : {
             Text{"Shutdown", true},
             Text{"xxShutdown", true},
             Text{"SShutdown", true},
             Text{"ShutShutdown", true},
             Text{"Shutdow", false},
             Text{"shutdown", false},
             Text{"Shut down", false},
             Text{"Shutdowm", false},
             Text{"ShutdowShutdow", false},
         }) {
        Recorded recorded;
        ShutdownPort device{recorded.first};
        for (const char c : std::string{written})
            out(device, ShutdownPort::usual_port, static_cast<std::uint8_t>(c));
        EXPECT_EQ(recorded.endings.size(), ends ? 1U : 0U) << written;
        Recorded at_once;
        ShutdownPort string_device{at_once.first};
        out_string(string_device, ShutdownPort::usual_port, written);
        EXPECT_EQ(at_once.endings.size(), ends ? 1U : 0U) << written;
        EXPECT_THAT(at_once.endings, testing::Each(Ending{}));
    }
}

TEST(ShutdownPort, ReadsAllOnes) {
    Recorded recorded;
    ShutdownPort device{recorded.first};
    EXPECT_EQ(in(device, ShutdownPort::usual_port), 0xffU);
}

} // namespace
} // namespace nestbed::device
