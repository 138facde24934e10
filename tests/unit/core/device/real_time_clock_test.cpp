#include "core/device/real_time_clock.hpp"

#include <chrono>
#include <cstdint>

#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

using namespace std::chrono_literals;
using std::chrono::sys_days;
using test::in;
using test::out;

struct Moment {
    RealTimeClock::Time time;
    std::uint8_t second, minute, hour, weekday, day, month, year, century;
};

TEST(RealTimeClock, TellsTheTimeInBcd) {
    for (const auto& [time, second, minute, hour, weekday, day, month, year, century] : {
             Moment{sys_days{2026y / 11 / 22}, 0x00, 0x00, 0x00, 1, 0x22, 0x11, 0x26, 0x20},
             Moment{sys_days{2026y / 11 / 22} + 13h + 59min + 7s, 0x07, 0x59, 0x13, 1, 0x22, 0x11, 0x26,
                    0x20},
             Moment{sys_days{1999y / 12 / 31} + 23h + 59min + 59s + 999ms, 0x59, 0x59, 0x23, 6, 0x31, 0x12,
                    0x99, 0x19},
             Moment{sys_days{2000y / 1 / 1}, 0x00, 0x00, 0x00, 7, 0x01, 0x01, 0x00, 0x20},
             Moment{sys_days{2024y / 2 / 29}, 0x00, 0x00, 0x00, 5, 0x29, 0x02, 0x24, 0x20},
             Moment{sys_days{2100y / 3 / 1}, 0x00, 0x00, 0x00, 2, 0x01, 0x03, 0x00, 0x21},
         }) {
        EXPECT_EQ(clock_register(time, 0x00), second);
        EXPECT_EQ(clock_register(time, 0x02), minute);
        EXPECT_EQ(clock_register(time, 0x04), hour);
        EXPECT_EQ(clock_register(time, 0x06), weekday);
        EXPECT_EQ(clock_register(time, 0x07), day);
        EXPECT_EQ(clock_register(time, 0x08), month);
        EXPECT_EQ(clock_register(time, 0x09), year);
        EXPECT_EQ(clock_register(time, 0x32), century);
    }
}

TEST(RealTimeClock, AnnouncesAnUpdate) {
    const sys_days day = 2026y / 11 / 22;
    struct Case {
        std::chrono::microseconds into_second;
        std::uint8_t status;
    };
    for (const auto& [into_second, status] : {Case{0us, 0x26}, Case{500ms, 0x26}, Case{1s - 2229us, 0x26},
                                              Case{1s - 2228us, 0xa6}, Case{1s - 1us, 0xa6}, Case{1s, 0x26}})
        EXPECT_EQ(clock_register(day + into_second, 0x0a), status) << into_second.count();
    EXPECT_EQ(clock_register(day, 0x0b), 0x02) << "24 hours, BCD";
    EXPECT_EQ(clock_register(day, 0x0c), 0x00);
    EXPECT_EQ(clock_register(day, 0x0d), 0x80) << "the battery is good";
}

TEST(RealTimeClock, MemoryStaysAndTheClockIsNotSet) {
    RealTimeClock clock{[] { return RealTimeClock::Time{sys_days{2026y / 11 / 22} + 5s}; }};
    const auto read = [&](std::uint8_t index) {
        out(clock, 0x70, index);
        return in(clock, 0x71);
    };
    for (unsigned index = 0; index < 128; ++index) {
        out(clock, 0x70, index);
        out(clock, 0x71, 0x5a);
    }
    for (unsigned index = 0; index < 128; ++index) {
        const bool own = clock_register({}, static_cast<std::uint8_t>(index)).has_value();
        if (!own)
            EXPECT_EQ(read(static_cast<std::uint8_t>(index)), 0x5aU) << index;
        else
            EXPECT_NE(read(static_cast<std::uint8_t>(index)), 0x5aU) << index;
    }
    EXPECT_EQ(read(0x00), 0x05U);
    EXPECT_EQ(read(0x80), 0x05U) << "bit 7 is the NMI mask";
    EXPECT_EQ(in(clock, 0x70), 0xffU) << "the index cannot be read";
    out(clock, 0x70, 0x330f, 2); // index and data in one access
    EXPECT_EQ(read(0x0f), 0x33U);
    EXPECT_EQ(in(clock, 0x71, 2), 0xff33U);
}

} // namespace
} // namespace nestbed::device
