#include "core/device/serial.hpp"

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

using test::in;
using test::out;
using test::out_string;

constexpr std::uint16_t base = Serial::com1;

std::vector<std::byte> bytes_of(std::string_view text) {
    std::vector<std::byte> bytes;
    for (const char c : text)
        bytes.push_back(static_cast<std::byte>(c));
    return bytes;
}

class SerialTest : public testing::Test {
protected:
    // What came out since the last call, one string per call of the output.
    std::vector<std::string> batches() { return std::exchange(_batches, {}); }
    std::string read_all() {
        std::string text;
        while ((in(serial, base + 5) & 1) != 0)
            text += static_cast<char>(in(serial, base));
        return text;
    }

    using Batches = std::vector<std::string>;

    test::RecordedLine line;
    unsigned wanted = 0;
    Serial serial{{.output =
                       [this](std::span<const std::byte> bytes) {
                           _batches.emplace_back();
                           for (const auto byte : bytes)
                               _batches.back() += static_cast<char>(byte);
                       },
                   .interrupt = &line,
                   .input_wanted = [this] { ++wanted; }}};

private:
    std::vector<std::string> _batches;
};

// Its taker may stand still for as long as it likes; whoever types comes again later.
TEST(Serial, TakesNothingWhileItsOutputIsHeldUp) {
    std::size_t fed = 1;
    Serial* self = nullptr;
    Serial serial{{.output = [&](std::span<const std::byte>) {
        std::thread{[&] { fed = self->feed(bytes_of("x")); }}.join();
    }}};
    self = &serial;
    out_string(serial, base, "\n");
    EXPECT_EQ(fed, 0U);
    EXPECT_EQ(serial.feed(bytes_of("x")), 1U);
}

TEST_F(SerialTest, ALineIsOneBatch) {
    for (const char c : std::string{"PASS: a\r"})
        out(serial, base, static_cast<std::uint8_t>(c));
    EXPECT_EQ(batches(), Batches{});
    out(serial, base, '\n');
    EXPECT_EQ(batches(), Batches{"PASS: a\r\n"});
    serial.flush();
    EXPECT_EQ(batches(), Batches{}) << "nothing is handed over twice";
    EXPECT_THAT(line.levels, testing::IsEmpty()) << "nobody has enabled an interrupt";
}

TEST_F(SerialTest, APromptComesWithTheFlush) {
    out_string(serial, base, "login: ");
    EXPECT_EQ(batches(), Batches{});
    serial.flush();
    EXPECT_EQ(batches(), Batches{"login: "});
}

TEST_F(SerialTest, AStringIsOneBatch) {
    out(serial, base, '>');
    out_string(serial, base, "one\ntwo\nthree");
    EXPECT_EQ(batches(), Batches{">one\ntwo\nthree"});
    out_string(serial, base, "");
    serial.flush();
    EXPECT_EQ(batches(), Batches{});
}

TEST_F(SerialTest, AFullBufferIsHandedOver) {
    const std::string text(2 * Serial::output_bytes + 10, 'x');
    out_string(serial, base, text);
    EXPECT_EQ(batches(),
              (Batches{std::string(Serial::output_bytes, 'x'), std::string(Serial::output_bytes, 'x')}));
    serial.flush();
    EXPECT_EQ(batches(), Batches{std::string(10, 'x')});
}

TEST_F(SerialTest, WhatIsNotSentDoesNotComeOut) {
    out(serial, base + 3, 0x80);
    out(serial, base, '\n'); // the divisor
    out(serial, base + 3, 0x03);
    out(serial, base + 4, 0x10);
    out(serial, base, '\n'); // looped back
    EXPECT_EQ(in(serial, base), static_cast<std::uint32_t>('\n'));
    out(serial, base + 7, '\n');
    serial.flush();
    EXPECT_EQ(batches(), Batches{});
    out(serial, base + 4, 0x00);
    out(serial, base, '\n');
    EXPECT_EQ(batches(), Batches{"\n"});
}

TEST_F(SerialTest, WideAccessesReachConsecutiveRegisters) {
    out(serial, base + 3, 0x0b03, 2); // line control, modem control
    EXPECT_EQ(in(serial, base + 3), 0x03U);
    EXPECT_EQ(in(serial, base + 4), 0x0bU);
    EXPECT_EQ(in(serial, base + 3, 4), 0xb060'0b03U);
    out(serial, base, 0x0f00U | 'w', 2);
    EXPECT_EQ(in(serial, base + 1), 0x0fU);
    serial.flush();
    EXPECT_EQ(batches(), Batches{"w"});
    EXPECT_EQ(in(serial, base + 7, 2), 0xff00U) << "nothing behind the last";
    out(serial, base + 7, 0x4142, 2);
    EXPECT_EQ(in(serial, base + 7), 0x42U);
}

TEST_F(SerialTest, TheHoldingRegisterInterruptsAtEachWrite) {
    out(serial, base + 1, 0x02);
    EXPECT_THAT(line.levels, testing::ElementsAre(true));
    EXPECT_EQ(in(serial, base + 2), 0x02U);
    EXPECT_THAT(line.levels, testing::ElementsAre(true, false));
    out(serial, base, 'a');
    out(serial, base, 'b');
    EXPECT_THAT(line.levels, testing::ElementsAre(true, false, true, false, true)) << "an edge for each";
    out(serial, base + 1, 0x00);
    EXPECT_FALSE(line.asserted());
}

TEST_F(SerialTest, InputComesInOrderAndWaits) {
    out(serial, base + 2, 0xc1);
    out(serial, base + 1, 0x01);
    std::string text;
    for (int i = 0; i < 1000; ++i)
        text += static_cast<char>('a' + i % 23);
    EXPECT_EQ(serial.feed(bytes_of(text)), text.size());
    EXPECT_TRUE(line.asserted());
    EXPECT_EQ(in(serial, base + 2), 0xc4U);
    EXPECT_EQ(read_all(), text);
    EXPECT_FALSE(line.asserted());
    EXPECT_EQ(serial.feed(bytes_of("z")), 1U);
    EXPECT_EQ(in(serial, base + 2), 0xccU) << "nothing more comes for now";
}

TEST_F(SerialTest, InputWorksWithoutTheFifo) {
    EXPECT_EQ(serial.feed(bytes_of("reboot\n")), 7U);
    EXPECT_EQ(in(serial, base + 5), 0x61U) << "no overrun";
    EXPECT_EQ(read_all(), "reboot\n");
}

TEST_F(SerialTest, InputWaitsOutALoopback) {
    out(serial, base + 4, 0x10);
    EXPECT_EQ(serial.feed(bytes_of("hello")), 5U);
    EXPECT_EQ(in(serial, base + 5), 0x60U);
    out(serial, base, 'x');
    EXPECT_EQ(read_all(), "x");
    out(serial, base + 4, 0x00);
    EXPECT_EQ(read_all(), "hello");
}

TEST_F(SerialTest, TheQueueIsBounded) {
    const std::vector<std::byte> much(Serial::input_bytes, std::byte{'q'});
    EXPECT_EQ(serial.feed(much), much.size()) << "one is in the receiver already";
    EXPECT_EQ(serial.feed(much), 1U);
    EXPECT_EQ(serial.feed(much), 0U);
    unsigned read = 0;
    while (wanted == 0) {
        ASSERT_EQ(in(serial, base), static_cast<std::uint32_t>('q'));
        ++read;
    }
    EXPECT_EQ(read, Serial::input_bytes / 2);
    for (; (in(serial, base + 5) & 1) != 0; ++read)
        static_cast<void>(in(serial, base));
    EXPECT_EQ(read, Serial::input_bytes + 1);
    EXPECT_EQ(wanted, 1U) << "said once";
}

TEST(Serial, HasNoNeedOfAnybodyElse) {
    Serial serial{{.output = {}}};
    out(serial, base, '\n');
    out(serial, base + 1, 0x0f);
    EXPECT_EQ(serial.feed(bytes_of("x")), 1U);
    EXPECT_EQ(in(serial, base), static_cast<std::uint32_t>('x'));
}

// Two vCPUs print, one reads what a host thread feeds, another host thread flushes.
TEST(Serial, NothingIsLostOrReordered) {
    constexpr std::uint32_t rounds = 20'000;
    std::string printed;
    Serial serial{{.output = [&](std::span<const std::byte> bytes) {
        for (const auto byte : bytes)
            printed += static_cast<char>(byte);
    }}};
    std::string read;
    std::atomic<unsigned> printing{2};
    {
        std::vector<std::jthread> threads;
        for (const char first : {'a', 'A'})
            threads.emplace_back([&, first] {
                for (std::uint32_t i = 0; i < rounds; ++i)
                    out(serial, base, static_cast<std::uint32_t>(first) + i % 26);
                --printing;
            });
        threads.emplace_back([&] {
            while (printing > 0)
                serial.flush();
        });
        threads.emplace_back([&] {
            for (std::uint32_t i = 0; i < rounds; ++i) {
                const std::byte byte{static_cast<std::uint8_t>(i % 251)};
                while (serial.feed({&byte, 1}) == 0)
                    std::this_thread::yield();
            }
        });
        threads.emplace_back([&] {
            while (read.size() < rounds)
                if ((in(serial, base + 5) & 1) != 0)
                    read += static_cast<char>(in(serial, base));
        });
    }
    serial.flush();
    ASSERT_EQ(printed.size(), 2 * rounds);
    std::uint32_t small = 0;
    std::uint32_t large = 0;
    for (const char c : printed) {
        if (c >= 'a')
            ASSERT_EQ(c, static_cast<char>('a' + small++ % 26));
        else
            ASSERT_EQ(c, static_cast<char>('A' + large++ % 26));
    }
    for (std::uint32_t i = 0; i < rounds; ++i)
        ASSERT_EQ(static_cast<std::uint8_t>(read[i]), i % 251);
}

} // namespace
} // namespace nestbed::device
