#include <array>
#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"
#include "core/device/pci_config.hpp"
#include "core/device/pci_host.hpp"
#include "core/device/pci_test_device.hpp"

namespace nestbed::device {
namespace {

using test::in;
using test::load;
using test::out;
using test::store;

constexpr std::uint16_t address_port = 0xcf8;
constexpr std::uint16_t data_port = 0xcfc;

class PciTest : public testing::Test {
protected:
    PciTest() {
        test_device.attach_to(bus, memory);
        host.attach_to(bus);
    }
    static constexpr std::uint32_t address(unsigned device, unsigned number, unsigned function = 0,
                                           unsigned bus_number = 0) {
        return 1U << 31 | bus_number << 16 | device << 11 | function << 8 | number;
    }
    std::uint32_t read(unsigned device, unsigned number) {
        out(host, address_port, address(device, number), 4);
        return in(host, data_port, 4);
    }
    void write(unsigned device, unsigned number, std::uint32_t value) {
        out(host, address_port, address(device, number), 4);
        out(host, data_port, value, 4);
    }

    PortBus bus;
    MmioBus memory;
    PciTestDevice test_device{{}};
    PciHost host{[this] {
        PciHost::Functions functions;
        functions[0] = pci_host_bridge();
        functions[4] = test_device.config();
        return functions;
    }()};
};

struct Register {
    const char* what;
    unsigned device;
    unsigned number;
    std::uint32_t value;
    std::uint32_t after_ones; // has been written
};

TEST_F(PciTest, Registers) {
    for (const auto& [what, device, number, value, after_ones] : {
             Register{"bridge: ids", 0, 0x00, 0x0008'1b36, 0x0008'1b36},
             Register{"bridge: command", 0, 0x04, 0, 0x0547},
             Register{"bridge: class", 0, 0x08, 0x0600'0000, 0x0600'0000},
             Register{"bridge: header type", 0, 0x0c, 0, 0},
             Register{"bridge: no base address", 0, 0x10, 0, 0},
             Register{"bridge: none either", 0, 0x24, 0, 0},
             Register{"bridge: subsystem", 0, 0x2c, 0x1100'1af4, 0x1100'1af4},
             Register{"bridge: no ROM", 0, 0x30, 0, 0},
             Register{"bridge: no capabilities", 0, 0x34, 0, 0},
             Register{"bridge: interrupt line", 0, 0x3c, 0, 0xff},
             Register{"bridge: last", 0, 0xfc, 0, 0},
             Register{"test device: ids", 4, 0x00, 0x0005'1b36, 0x0005'1b36},
             Register{"test device: command", 4, 0x04, 3, 0x0547},
             Register{"test device: class", 4, 0x08, 0x00ff'0000, 0x00ff'0000},
             Register{"test device: memory", 4, 0x10, 0xfe00'0000, 0xffff'f000},
             Register{"test device: ports", 4, 0x14, 0xc001, 0xffff'ff01},
             Register{"test device: no more", 4, 0x18, 0, 0},
             Register{"nobody", 1, 0x00, 0xffff'ffff, 0xffff'ffff},
             Register{"the last nobody", 31, 0x00, 0xffff'ffff, 0xffff'ffff},
         }) {
        EXPECT_EQ(read(device, number), value) << what;
        write(device, number, 0xffff'ffff);
        EXPECT_EQ(read(device, number), after_ones) << what;
    }
    write(4, 0x10, 0xfe00'0000);
    write(4, 0x14, 0x1000);
    EXPECT_EQ(read(4, 0x10), 0xfe00'0000U);
    EXPECT_EQ(read(4, 0x14), 0xc001U) << "cannot be moved";
    write(4, 0x04, 0);
    EXPECT_EQ(read(4, 0x04), 0U);
}

TEST_F(PciTest, OnlyBusZeroAndFunctionZeroAndOnlyEnabled) {
    for (const std::uint32_t other :
         {address(0, 0, 1), address(0, 0, 7), address(0, 0, 0, 1), address(0, 0, 0, 255), 0U, 0x7fff'ffffU}) {
        out(host, address_port, other, 4);
        EXPECT_EQ(in(host, data_port, 4), 0xffff'ffffU) << std::hex << other;
        out(host, data_port, 0xff, 4);
    }
    EXPECT_EQ(read(0, 0x00), 0x0008'1b36U);
}

TEST_F(PciTest, TheAddressIsADoubleWord) {
    out(host, address_port, 0xffff'ffff, 4);
    EXPECT_EQ(in(host, address_port, 4), 0x80ff'ffffU);
    out(host, address_port, 0x8000'0000, 4);
    out(host, address_port, 0x1234, 2);
    out(host, address_port, 0x12, 1);
    EXPECT_EQ(in(host, address_port, 4), 0x8000'0000U);
    EXPECT_EQ(in(host, address_port, 1), 0xffU);
    EXPECT_EQ(in(host, address_port, 2), 0xffffU);
    std::array data{std::byte{1}};
    for (const auto port :
         std::to_array<std::uint16_t>({0xcf9, 0xcfa, 0xcfb, 0xd00})) // Linux writes a byte to 0xcfb
        EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = port, .out = true, .width = 1, .data = data}));
    EXPECT_EQ(in(host, address_port, 4), 0x8000'0000U);
}

TEST_F(PciTest, BytesAndWords) {
    out(host, address_port, address(4, 0x10), 4);
    EXPECT_EQ(in(host, data_port + 3), 0xfeU);
    EXPECT_EQ(in(host, data_port + 2, 2), 0xfe00U);
    EXPECT_EQ(in(host, data_port + 3, 2), 0xfffeU) << "nothing behind";
    EXPECT_EQ(in(host, data_port + 1, 4), 0xfffe'0000U);
    out(host, address_port, address(4, 0x00), 4);
    EXPECT_EQ(in(host, data_port + 1), 0x1bU);
    EXPECT_EQ(in(host, data_port + 2, 2), 0x0005U);
    out(host, address_port, address(4, 0x02), 4); // as kvm-unit-tests read the device's id
    EXPECT_EQ(in(host, data_port, 2), 0x0005U);
    out(host, address_port, address(4, 0x04), 4);
    out(host, data_port + 1, 0x05);
    EXPECT_EQ(in(host, data_port, 4), 0x0503U);
    out(host, data_port, 0x0000, 2);
    EXPECT_EQ(in(host, data_port, 4), 0U);
    out(host, address_port, address(4, 0x3e), 4);
    out(host, data_port, 0xff); // the interrupt pin stays
    EXPECT_EQ(read(4, 0x3c), 0U);
    out(host, address_port, address(4, 0x10), 4);
    out(host, data_port, 0xff);
    out(host, data_port, 0xffff, 2);
    EXPECT_EQ(read(4, 0x10), 0xfe00'0000U) << "a size is asked for in one piece";
}

// What kvm-unit-tests' pci_testdev_one() does with each test.
TEST_F(PciTest, TheTestDeviceCounts) {
    const auto run = [](auto&& get, auto&& put, std::uint32_t target, const std::string& name) {
        put(0, 0, 1);
        EXPECT_EQ(get(12, 4), 0U);
        EXPECT_EQ(get(1, 1), 1U) << "bytes wide";
        EXPECT_EQ(get(4, 4), target);
        EXPECT_EQ(get(8, 4), 0xfaU);
        for (unsigned i = 0; i < 300; ++i)
            put(target, 0xfa, 1);
        put(target, 0xfb, 1);
        put(target + 1, 0xfa, 1);
        EXPECT_EQ(get(12, 4), 300U);
        std::string found;
        for (std::uint32_t i = 16; get(i, 1) != 0; ++i)
            found += static_cast<char>(get(i, 1));
        EXPECT_EQ(found, name);
        put(0, 0, 1);
        EXPECT_EQ(get(12, 4), 0U) << "starting clears";
        put(0, 1, 1);
        EXPECT_EQ(get(1, 1), 0U) << "there is one test";
        EXPECT_EQ(get(target, 1), 0U);
    };
    EXPECT_EQ(load(test_device, 0xfe00'0001, 1), 0U) << "none runs";
    run([this](std::uint32_t offset,
               std::uint8_t width) { return load(test_device, 0xfe00'0000 + offset, width); },
        [this](std::uint32_t offset, std::uint32_t value, std::uint8_t width) {
            store(test_device, 0xfe00'0000 + offset, value, width);
        },
        2048, "mmio-no-eventfd");
    run(
        [this](std::uint32_t offset, std::uint8_t width) {
            return in(test_device, static_cast<std::uint16_t>(0xc000 + offset), width);
        },
        [this](std::uint32_t offset, std::uint32_t value, std::uint8_t width) {
            out(test_device, static_cast<std::uint16_t>(0xc000 + offset), value, width);
        },
        128, "portio-no-eventfd");
    out(test_device, 0xc000, 0);
    store(test_device, 0xfe00'0000 + 2048, 0xfa, 1);
    EXPECT_EQ(in(test_device, 0xc00c), 0U) << "the other kind's access";
}

TEST_F(PciTest, TheTestDeviceIsWhereItSays) {
    std::array data{std::byte{0}};
    for (const auto port : std::to_array<std::uint16_t>({0xc000, 0xc0ff}))
        EXPECT_TRUE(bus.dispatch({.vcpu = 0, .port = port, .out = false, .width = 1, .data = data}));
    EXPECT_FALSE(bus.dispatch({.vcpu = 0, .port = 0xc100, .out = false, .width = 1, .data = data}));
    for (const std::uint64_t at : {0xfe00'0000U, 0xfe00'0fffU})
        EXPECT_TRUE(memory.dispatch({.vcpu = 0, .address = at, .write = false, .width = 1, .data = data}));
    EXPECT_FALSE(
        memory.dispatch({.vcpu = 0, .address = 0xfe00'1000, .write = false, .width = 1, .data = data}));
}

} // namespace
} // namespace nestbed::device
