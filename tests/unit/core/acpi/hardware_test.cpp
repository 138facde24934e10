#include "core/acpi/hardware.hpp"

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/acpi/dsdt.hpp"
#include "guests.hpp"

namespace nestbed::acpi::test {
namespace {

struct HardwareCase {
    std::string name;
    std::function<void(Hardware&)> change;
    std::string found; // empty: fine
};

class CheckHardware : public testing::TestWithParam<HardwareCase> {};

TEST_P(CheckHardware, SaysWhatIsWrong) {
    auto hardware = some_hardware();
    GetParam().change(hardware);
    const auto status = check(hardware);
    ASSERT_EQ(status.has_value(), GetParam().found.empty());
    if (!status) {
        EXPECT_EQ(status.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(status.error().found, testing::HasSubstr(GetParam().found));
    }
}

void add_many(Hardware& hardware, std::uint32_t count) {
    hardware.serial.clear();
    hardware.virtio.clear();
    hardware.ioapic.pins = count;
    for (std::uint32_t i = 0; i < count; ++i)
        hardware.virtio.push_back({0xd000'0000 + std::uint64_t{i} * 0x1000, 0x200, i});
}

INSTANTIATE_TEST_SUITE_P(
    All, CheckHardware,
    testing::Values(
        HardwareCase{"AsItIs", [](Hardware&) {}, ""},
        HardwareCase{"NoDevices", [](Hardware& it) { it.serial.clear(), it.virtio.clear(); }, ""},
        HardwareCase{"NoResetPort", [](Hardware& it) { it.reset_port = 0; }, "I/O port"},
        HardwareCase{"NoSleepControl", [](Hardware& it) { it.sleep_control_port = 0; }, "I/O port"},
        HardwareCase{"NoSleepStatus", [](Hardware& it) { it.sleep_status_port = 0; }, "I/O port"},
        HardwareCase{"OnePortForTwo", [](Hardware& it) { it.reset_port = 0x601; }, "I/O port"},
        HardwareCase{"GsiPastThePins", [](Hardware& it) { it.virtio[1].gsi = 24; }, "GSI 24"},
        HardwareCase{"GsiBelowTheBase", [](Hardware& it) { it.ioapic.gsi_base = 5; }, "GSI 4"},
        HardwareCase{"GsiTwice", [](Hardware& it) { it.virtio[1].gsi = 5; }, "GSI 5"},
        HardwareCase{"GsiOfTheSerial", [](Hardware& it) { it.virtio[1].gsi = 4; }, "GSI 4"},
        HardwareCase{"EmptyWindow", [](Hardware& it) { it.virtio[0].bytes = 0; }, "0xd0000000"},
        HardwareCase{"WindowPassesFourGib", [](Hardware& it) { it.virtio[2].bytes = 0x1001; }, "0xfffff000"},
        HardwareCase{"WindowAboveFourGib", [](Hardware& it) { it.virtio[2].address = 0x1'0000'0000; },
                     "0x100000000"},
        HardwareCase{"WindowOverflows", [](Hardware& it) { it.virtio[2].bytes = ~0ULL; },
                     "0xffffffffffffffff"},
        HardwareCase{"WindowsOverlap", [](Hardware& it) { it.virtio[0].bytes = 0x1001; },
                     "overlap at 0xd0001000"},
        HardwareCase{"MostDevices", [](Hardware& it) { add_many(it, max_virtio_devices); }, ""},
        HardwareCase{"TooManyDevices", [](Hardware& it) { add_many(it, max_virtio_devices + 1); },
                     "4097 virtio devices"}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(SoftOff, IsWhatLinuxWrites) {
    EXPECT_TRUE(is_soft_off(5 << 2 | 1 << 5));
    EXPECT_TRUE(is_soft_off(5 << 2 | 1 << 5 | 0xc3)); // other bits are reserved
    EXPECT_FALSE(is_soft_off(5 << 2));                // the type alone
    EXPECT_FALSE(is_soft_off(1 << 5));
    EXPECT_FALSE(is_soft_off(7 << 2 | 1 << 5));
}

} // namespace
} // namespace nestbed::acpi::test
