#include "core/device/system_control.hpp"

#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

TEST(SystemControl, SaysNothingOfBusErrorsAndRefreshes) {
    SystemControl device;
    test::out(device, SystemControl::port, 0xff);
    EXPECT_EQ(test::in(device, SystemControl::port), 0x1fU);
    EXPECT_EQ(test::in(device, SystemControl::port), 0x0fU);
    test::out(device, SystemControl::port, 0xf0);
    EXPECT_EQ(test::in(device, SystemControl::port), 0x10U);
    EXPECT_EQ(test::in(device, SystemControl::port, 2), 0xff00U);
    test::out(device, SystemControl::port, 0x0f00, 2);
    EXPECT_EQ(test::in(device, SystemControl::port), 0x10U);
}

} // namespace
} // namespace nestbed::device
