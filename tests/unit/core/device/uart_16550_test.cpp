#include "core/device/uart_16550.hpp"

#include <cstdint>

#include <gtest/gtest.h>

namespace nestbed::device {
namespace {

enum : unsigned { data, ier, iir, lcr, mcr, lsr, msr, scr };
constexpr unsigned fcr = iir;

struct RegisterCase {
    const char* what;
    unsigned number;
    std::uint8_t after_reset;
    std::uint8_t written;
    std::uint8_t after_write;
};

TEST(Uart16550, Registers) {
    for (const auto& [what, number, after_reset, written, after_write] : {
             RegisterCase{"receiver buffer", data, 0, 0x41, 0},
             RegisterCase{"interrupt enable", ier, 0, 0xff, 0x0f},
             RegisterCase{"identification", iir, 0x01, 0x00, 0x01},
             RegisterCase{"FIFO control", iir, 0x01, 0x01, 0xc1},
             RegisterCase{"FIFO control without its enable", iir, 0x01, 0xc0, 0x01},
             RegisterCase{"line control", lcr, 0, 0x5b, 0x5b},
             RegisterCase{"modem control", mcr, 0, 0xef, 0x0f},
             RegisterCase{"line status", lsr, 0x60, 0xff, 0x60},
             RegisterCase{"modem status", msr, 0xb0, 0x0f, 0xb0},
             RegisterCase{"scratch", scr, 0, 0xa5, 0xa5},
         }) {
        Uart16550 uart;
        EXPECT_EQ(uart.read(number), after_reset) << what;
        uart.write(number, written);
        EXPECT_EQ(uart.read(number), after_write) << what;
    }
}

TEST(Uart16550, TheDivisorIsBehindItsLatch) {
    Uart16550 uart;
    uart.write(ier, 0x05);
    uart.write(lcr, 0x83);
    EXPECT_FALSE(uart.transmits());
    EXPECT_EQ(uart.read(data), 12U);
    EXPECT_EQ(uart.read(ier), 0U);
    uart.write(data, 0x34);
    uart.write(ier, 0x12);
    EXPECT_EQ(uart.read(data), 0x34U);
    EXPECT_EQ(uart.read(ier), 0x12U);
    uart.receive(0x41);
    EXPECT_EQ(uart.read(data), 0x34U);
    uart.write(lcr, 0x03);
    EXPECT_TRUE(uart.transmits());
    EXPECT_EQ(uart.read(ier), 0x05U);
    EXPECT_EQ(uart.read(data), 0x41U) << "was not read through the latch";
}

struct TriggerCase {
    std::uint8_t fifo_control;
    unsigned received;
    std::uint8_t identification;
};

TEST(Uart16550, ReceiverInterrupts) {
    for (const auto& [fifo_control, received, identification] : {
             TriggerCase{0x00, 0, 0x01},
             TriggerCase{0x00, 1, 0x04},
             TriggerCase{0x01, 0, 0xc1},
             TriggerCase{0x01, 1, 0xc4},
             TriggerCase{0x41, 1, 0xcc},
             TriggerCase{0x41, 3, 0xcc},
             TriggerCase{0x41, 4, 0xc4},
             TriggerCase{0x81, 7, 0xcc},
             TriggerCase{0x81, 8, 0xc4},
             TriggerCase{0xc1, 13, 0xcc},
             TriggerCase{0xc1, 14, 0xc4},
             TriggerCase{0xc1, 16, 0xc4},
         }) {
        Uart16550 uart;
        uart.write(fcr, fifo_control);
        for (unsigned i = 0; i < received; ++i)
            uart.receive(0x41);
        EXPECT_FALSE(uart.interrupts());
        uart.write(ier, 0x01);
        EXPECT_EQ(uart.interrupts(), received > 0);
        EXPECT_EQ(uart.read(iir), identification) << int{fifo_control} << ' ' << received;
        EXPECT_EQ(uart.read(lsr), received > 0 ? 0x61 : 0x60);
        for (unsigned i = 0; i < received; ++i)
            EXPECT_EQ(uart.read(data), 0x41U);
        EXPECT_FALSE(uart.interrupts());
        EXPECT_EQ(uart.read(lsr), 0x60U);
    }
}

TEST(Uart16550, TheFifoHoldsSixteenInOrder) {
    Uart16550 uart;
    uart.write(fcr, 0x01);
    for (unsigned round = 0; round < 3; ++round) { // around the end of the ring
        for (std::uint8_t i = 0; i < 16; ++i) {
            EXPECT_TRUE(uart.has_room());
            uart.receive(i);
        }
        EXPECT_FALSE(uart.has_room());
        for (std::uint8_t i = 0; i < 5 + 11; ++i)
            EXPECT_EQ(uart.read(data), i);
        uart.receive(1);
        EXPECT_EQ(uart.read(data), 1U);
    }
    EXPECT_EQ(uart.read(lsr), 0x60U) << "no overrun";
}

TEST(Uart16550, AnOverrunKeepsWhatWasThere) {
    for (const unsigned capacity : {1U, 16U}) {
        Uart16550 uart;
        uart.write(fcr, capacity > 1 ? 1 : 0);
        for (std::uint8_t i = 0; i <= capacity; ++i)
            uart.receive(i);
        uart.write(ier, 0x05);
        EXPECT_EQ(uart.read(iir) & 0x0fU, 0x06U) << "before the received bytes";
        EXPECT_EQ(uart.read(lsr), 0x63U);
        EXPECT_EQ(uart.read(lsr), 0x61U) << "reading clears it";
        EXPECT_EQ(uart.read(iir) & 0x07U, 0x04U);
        for (std::uint8_t i = 0; i < capacity; ++i)
            EXPECT_EQ(uart.read(data), i);
    }
}

struct FifoCase {
    const char* what;
    std::uint8_t before;
    std::uint8_t written;
    bool kept;
};

TEST(Uart16550, FifoControlClears) {
    for (const auto& [what, before, written, kept] : {
             FifoCase{"the same", 0x01, 0x01, true},
             FifoCase{"another level", 0x01, 0x81, true},
             FifoCase{"clear receiver", 0x01, 0x03, false},
             FifoCase{"clear transmitter", 0x01, 0x05, true},
             FifoCase{"clear without enable is not a clear", 0x00, 0x02, true},
             FifoCase{"off", 0x01, 0x00, false},
             FifoCase{"on", 0x00, 0x01, false},
         }) {
        Uart16550 uart;
        uart.write(fcr, before);
        uart.receive(0x41);
        uart.write(fcr, written);
        EXPECT_EQ(uart.read(data), kept ? 0x41 : 0) << what;
    }
}

TEST(Uart16550, TransmitterInterrupts) {
    Uart16550 uart;
    uart.write(ier, 0x02);
    EXPECT_TRUE(uart.interrupts()) << "enabled while empty";
    EXPECT_EQ(uart.read(iir), 0x02U);
    EXPECT_EQ(uart.read(iir), 0x01U) << "reading it is the acknowledgement";
    EXPECT_FALSE(uart.interrupts());
    uart.begin_transmission();
    EXPECT_FALSE(uart.interrupts());
    uart.end_transmission();
    EXPECT_TRUE(uart.interrupts());
    uart.write(ier, 0x00);
    EXPECT_FALSE(uart.interrupts());
    EXPECT_EQ(uart.read(iir), 0x01U);
    uart.write(ier, 0x02);
    EXPECT_EQ(uart.read(iir), 0x02U) << "again, which Linux tests for";
    uart.receive(0x41);
    uart.end_transmission();
    uart.write(ier, 0x03);
    EXPECT_EQ(uart.read(iir), 0x04U) << "the receiver comes first";
    EXPECT_EQ(uart.read(data), 0x41U);
    EXPECT_EQ(uart.read(iir), 0x02U) << "and reading its identification acknowledged nothing";
}

struct LoopCase {
    std::uint8_t modem_control;
    std::uint8_t lines;
};

TEST(Uart16550, LoopbackConnectsTheModemLines) {
    for (const auto& [control, lines] : {
             LoopCase{0x10, 0x00},
             LoopCase{0x11, 0x20},
             LoopCase{0x12, 0x10},
             LoopCase{0x14, 0x40},
             LoopCase{0x18, 0x80},
             LoopCase{0x1a, 0x90}, // what Linux looks for
             LoopCase{0x1f, 0xf0},
         }) {
        Uart16550 uart;
        uart.write(mcr, control);
        EXPECT_EQ(uart.read(msr) & 0xf0U, lines) << int{control};
        EXPECT_EQ(uart.read(mcr), control);
        uart.write(mcr, 0);
        EXPECT_EQ(uart.read(msr) & 0xf0U, 0xb0U);
    }
}

TEST(Uart16550, ModemStatusChanges) {
    struct Change {
        std::uint8_t before;
        std::uint8_t after;
        std::uint8_t deltas;
    };
    for (const auto& [before, after, deltas] : {
             Change{0x10, 0x11, 0x02},
             Change{0x11, 0x10, 0x02},
             Change{0x10, 0x12, 0x01},
             Change{0x10, 0x18, 0x08},
             Change{0x10, 0x14, 0x00}, // RI rises
             Change{0x14, 0x10, 0x04}, // RI falls
             Change{0x1f, 0x10, 0x0f},
             Change{0x1f, 0x1f, 0x00},
             Change{0x00, 0x0f, 0x00}, // not looped
             Change{0x1b, 0x00, 0x00}, // the same lines outside
             Change{0x00, 0x10, 0x0b},
         }) {
        Uart16550 uart;
        uart.write(mcr, before);
        static_cast<void>(uart.read(msr));
        uart.write(ier, 0x08);
        EXPECT_FALSE(uart.interrupts());
        uart.write(mcr, after);
        EXPECT_EQ(uart.interrupts(), deltas != 0) << int{before} << ' ' << int{after};
        EXPECT_EQ(uart.read(iir), deltas != 0 ? 0x00 : 0x01);
        EXPECT_EQ(uart.read(msr) & 0x0fU, deltas) << int{before} << ' ' << int{after};
        EXPECT_FALSE(uart.interrupts()) << "reading the status clears it";
        EXPECT_EQ(uart.read(msr) & 0x0fU, 0U);
    }
}

// What Linux's size_fifo() does to tell a 16550A from its successors.
TEST(Uart16550, LoopbackShowsTheSizeOfTheFifo) {
    Uart16550 uart;
    uart.write(fcr, 0x07);
    uart.write(mcr, 0x10);
    EXPECT_FALSE(uart.transmits());
    EXPECT_FALSE(uart.has_room()) << "the line is disconnected";
    for (unsigned i = 0; i < 256; ++i)
        uart.write(data, static_cast<std::uint8_t>(i));
    EXPECT_EQ(uart.read(lsr), 0x63U);
    unsigned count = 0;
    for (; (uart.read(lsr) & 1) != 0; ++count)
        EXPECT_EQ(uart.read(data), count);
    EXPECT_EQ(count, 16U);
}

// The probes of Linux's autoconfig_16550a() for chips that this is not.
TEST(Uart16550, IsNoneOfItsSuccessors) {
    Uart16550 uart;
    uart.write(lcr, 0xbf);
    uart.write(fcr, 0x00);
    uart.write(lcr, 0x00);
    uart.write(fcr, 0x01);
    EXPECT_EQ(uart.read(iir) >> 6, 3);
    uart.write(lcr, 0x80);
    EXPECT_NE(uart.read(iir), 0U) << "no EFR";
    uart.write(lcr, 0xbf);
    EXPECT_NE(uart.read(iir), 0U) << "no EFR here either";
    uart.write(lcr, 0x00);
    uart.write(fcr, 0x21);
    EXPECT_EQ(uart.read(iir) >> 5, 6);
    uart.write(lcr, 0x80);
    uart.write(fcr, 0x21);
    EXPECT_EQ(uart.read(iir) >> 5, 6) << "a 16750 has 7";
    uart.write(lcr, 0x00);
    uart.write(ier, 0x40);
    EXPECT_EQ(uart.read(ier), 0U) << "an XScale has bit 6";
}

} // namespace
} // namespace nestbed::device
