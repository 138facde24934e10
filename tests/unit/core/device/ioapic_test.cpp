#include "core/device/ioapic.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accesses.hpp"

namespace nestbed::device {
namespace {

using test::load;
using test::store;

constexpr std::uint64_t base = Ioapic::usual_base;
constexpr std::uint32_t level = 0x8000;
constexpr std::uint32_t masked = 0x1'0000;

class IoapicTest : public testing::Test {
protected:
    std::uint32_t read(std::uint32_t number) {
        store(ioapic, base, number);
        return static_cast<std::uint32_t>(load(ioapic, base + 0x10));
    }
    void write(std::uint32_t number, std::uint32_t value) {
        store(ioapic, base, number);
        store(ioapic, base + 0x10, value);
    }
    void program(unsigned pin, std::uint32_t low, std::uint32_t high = 0) {
        write(0x11 + 2 * pin, high);
        write(0x10 + 2 * pin, low);
    }
    std::uint32_t low_of(unsigned pin) { return read(0x10 + 2 * pin); }
    void pulse(unsigned pin) {
        ioapic.pin(pin).set(true);
        ioapic.pin(pin).set(false);
    }
    // Vectors of what was sent since the last call.
    std::vector<unsigned> vectors() {
        std::vector<unsigned> found;
        for (const auto& message : messages.sent)
            found.push_back(message.data & 0xff);
        messages.sent.clear();
        return found;
    }

    using Vectors = std::vector<unsigned>;

    test::RecordedMessages messages;
    std::vector<Ioapic::Routes> announced;
    Ioapic ioapic{{.id = 5, .messages = messages, .routes_changed = [this](const Ioapic::Routes& routes) {
                       announced.push_back(routes);
                   }}};
};

struct RegisterCase {
    std::uint32_t number;
    std::uint32_t after_reset;
    std::uint32_t written;
    std::uint32_t after_write;
};

TEST_F(IoapicTest, Registers) {
    for (const auto& [number, after_reset, written, after_write] : {
             RegisterCase{0x00, 0x0500'0000, 0xffff'ffff, 0x0f00'0000},
             RegisterCase{0x02, 0x0f00'0000, 0, 0x0f00'0000}, // arbitration follows the id
             RegisterCase{0x01, 0x0017'0020, 0, 0x0017'0020},
             RegisterCase{0x03, 0, 0xffff'ffff, 0},
             RegisterCase{0x0f, 0, 0xffff'ffff, 0},
             RegisterCase{0x10, 0x1'0000, 0xffff'ffff, 0x1'afff},
             RegisterCase{0x11, 0, 0xffff'ffff, 0xfffe'0000},
             RegisterCase{0x3e, 0x1'0000, 0x1'0055, 0x1'0055},
             RegisterCase{0x3f, 0, 0x1234'5678, 0x1234'0000},
             RegisterCase{0x40, 0, 0xffff'ffff, 0},
             RegisterCase{0xff, 0, 0xffff'ffff, 0},
         }) {
        EXPECT_EQ(read(number), after_reset) << std::hex << number;
        write(number, written);
        EXPECT_EQ(read(number), after_write) << std::hex << number;
    }
    EXPECT_THAT(messages.sent, testing::IsEmpty());
}

TEST_F(IoapicTest, TheWindow) {
    store(ioapic, base, 0xabcd'ef01, 4);
    EXPECT_EQ(load(ioapic, base), 0x01U) << "eight bits select";
    store(ioapic, base, 0x10, 1);
    EXPECT_EQ(load(ioapic, base, 1), 0x10U) << "a byte is enough for that";
    store(ioapic, base + 0x10, 0x55, 2);
    store(ioapic, base + 0x10, 0x55, 1);
    EXPECT_EQ(load(ioapic, base + 0x10), 0x1'0000U) << "but not for the window";
    store(ioapic, base + 0x10, 0xffff'ffff'0001'0055, 8);
    EXPECT_EQ(load(ioapic, base + 0x10, 8), 0x1'0055U);
    EXPECT_EQ(load(ioapic, base + 0x10, 1), 0x55U);
    for (const std::uint64_t offset : {0x04U, 0x11U, 0x14U, 0x20U, 0x40U, 0xffcU}) {
        store(ioapic, base + offset, 0xffff'ffff);
        EXPECT_EQ(load(ioapic, base + offset), 0U) << std::hex << offset;
    }
    EXPECT_EQ(low_of(0), 0x1'0055U);
}

// What is in service keeps its route, whatever the pin's new one is.
TEST_F(IoapicTest, ARouteOutlivesAMoveWhileItsInterruptIsInService) {
    const auto old_route = Message{0xfee0'0000, 0, 0xc084};
    const auto on_cpu = [](std::uint32_t cpu) { return Message{0xfee0'0000 | cpu << 12, 0, 0xc084}; };
    program(14, level | 0x84);
    EXPECT_EQ(ioapic.routes()[Ioapic::pins + 14], old_route) << "nothing is in service";
    ioapic.pin(14).set(true);
    write(0x11 + 2 * 14, 0x0100'0000);
    EXPECT_EQ(announced.back()[14], on_cpu(1));
    EXPECT_EQ(announced.back()[Ioapic::pins + 14], old_route);
    write(0x11 + 2 * 14, 0x0200'0000);
    EXPECT_EQ(announced.back()[14], on_cpu(2));
    EXPECT_EQ(announced.back()[Ioapic::pins + 14], old_route) << "the first is still in service";
    ioapic.pin(14).set(false);
    ioapic.end_of_interrupt(0x84);
    write(0x11 + 2 * 14, 0x0300'0000);
    EXPECT_EQ(announced.back()[Ioapic::pins + 14], on_cpu(3));
    EXPECT_EQ(announced.back(), ioapic.routes());
}

TEST_F(IoapicTest, AnEdgeIsSentOncePerRise) {
    program(14, 0x76, 0x0300'0000);
    ioapic.pin(14).set(true);
    EXPECT_THAT(messages.sent, testing::ElementsAre(Message{0xfee0'3000, 0, 0x76}));
    ioapic.pin(14).set(true);
    EXPECT_EQ(vectors(), Vectors{0x76}) << "still high";
    ioapic.pin(14).set(false);
    EXPECT_EQ(vectors(), Vectors{});
    pulse(14);
    pulse(14);
    EXPECT_EQ(vectors(), (Vectors{0x76, 0x76}));
    EXPECT_EQ(low_of(14), 0x76U) << "no remote IRR";
    ioapic.end_of_interrupt(0x76);
    EXPECT_EQ(vectors(), Vectors{});
}

// 82093AA, section 3.2.4: edges on a masked pin are ignored and not held pending.
TEST_F(IoapicTest, AnEdgeOnAMaskedPinIsLost) {
    program(14, masked | 0x81);
    pulse(14);
    ioapic.pin(14).set(true);
    program(14, 0x81);
    EXPECT_EQ(vectors(), Vectors{});
    ioapic.pin(14).set(false);
    ioapic.pin(14).set(true);
    EXPECT_EQ(vectors(), Vectors{0x81});
}

TEST_F(IoapicTest, ALevelIsSentAgainAtItsEndWhileAsserted) {
    program(14, level | 0x9a);
    ioapic.pin(14).set(true);
    EXPECT_THAT(messages.sent, testing::ElementsAre(Message{0xfee0'0000, 0, 0xc09a}));
    messages.sent.clear();
    EXPECT_EQ(low_of(14), 0xc09aU) << "remote IRR";
    ioapic.pin(14).set(true);
    ioapic.pin(14).set(false);
    ioapic.pin(14).set(true);
    EXPECT_EQ(vectors(), Vectors{}) << "coalesced until the end";
    ioapic.end_of_interrupt(0x99);
    EXPECT_EQ(vectors(), Vectors{}) << "somebody else's";
    ioapic.end_of_interrupt(0x9a);
    EXPECT_EQ(vectors(), Vectors{0x9a});
    ioapic.pin(14).set(false);
    EXPECT_EQ(low_of(14), 0xc09aU) << "in service still";
    ioapic.end_of_interrupt(0x9a);
    EXPECT_EQ(vectors(), Vectors{});
    EXPECT_EQ(low_of(14), 0x809aU);
    ioapic.pin(14).set(true);
    EXPECT_EQ(vectors(), Vectors{0x9a});
}

TEST_F(IoapicTest, AMaskedLevelIsSentWhenUnmasked) {
    program(14, masked | level | 0x82);
    ioapic.pin(14).set(true);
    EXPECT_EQ(vectors(), Vectors{});
    program(14, level | 0x82);
    EXPECT_EQ(vectors(), Vectors{0x82});
    program(14, masked | level | 0x82); // the guest masks while it handles, then ends, then unmasks
    ioapic.end_of_interrupt(0x82);
    EXPECT_EQ(low_of(14), masked | level | 0x82);
    EXPECT_EQ(vectors(), Vectors{});
    program(14, level | 0x82);
    EXPECT_EQ(vectors(), Vectors{0x82});
}

TEST_F(IoapicTest, TheEoiRegisterEndsAsTheLocalApicDoes) {
    program(3, level | 0x40);
    ioapic.pin(3).set(true);
    EXPECT_EQ(vectors(), Vectors{0x40});
    store(ioapic, base + 0x40, 0x40, 1);
    EXPECT_EQ(vectors(), Vectors{}) << "32 bits wide";
    store(ioapic, base + 0x40, 0x40);
    EXPECT_EQ(vectors(), Vectors{0x40});
}

TEST_F(IoapicTest, PinsMayShareAVector) {
    program(3, level | 0x40, 0x0100'0000);
    program(9, level | 0x40, 0x0200'0000);
    program(10, 0x40);
    ioapic.pin(3).set(true);
    ioapic.pin(9).set(true);
    ioapic.pin(9).set(false);
    ioapic.pin(10).set(true);
    messages.sent.clear();
    ioapic.end_of_interrupt(0x40);
    EXPECT_THAT(messages.sent, testing::ElementsAre(Message{0xfee0'1000, 0, 0xc040}));
    EXPECT_EQ(low_of(9), level | 0x40);
}

TEST_F(IoapicTest, ChangesOfTriggerWhileAsserted) {
    program(7, 0x50);
    ioapic.pin(7).set(true);
    EXPECT_EQ(vectors(), Vectors{0x50});
    write(0x10 + 14, level | 0x50);
    EXPECT_EQ(vectors(), Vectors{0x50}) << "a level now";
    write(0x10 + 14, 0x50);
    EXPECT_EQ(low_of(7), 0x50U) << "Linux's way to clear remote IRR";
    EXPECT_EQ(vectors(), Vectors{});
    write(0x10 + 14, level | 0x50);
    EXPECT_EQ(vectors(), Vectors{0x50});
}

TEST_F(IoapicTest, EachPinHasItsOwnEntry) {
    for (unsigned i = 0; i < Ioapic::pins; ++i)
        program(i, 0x30 + i);
    for (unsigned i = 0; i < Ioapic::pins; ++i) {
        pulse(i);
        EXPECT_EQ(vectors(), Vectors{0x30 + i});
        EXPECT_EQ(ioapic.routes()[i], (Message{0xfee0'0000, 0, 0x30 + i}));
    }
    EXPECT_THROW(static_cast<void>(ioapic.pin(Ioapic::pins)), std::out_of_range);
}

TEST_F(IoapicTest, RoutesAreAnnouncedWhenAMessageChanges) {
    write(0x1c, masked | level | 0x44);
    ASSERT_EQ(announced.size(), 1U);
    EXPECT_EQ(announced[0][6], (Message{0xfee0'0000, 0, 0xc044})) << "masked ones as well";
    write(0x1c, level | 0x44);
    write(0x1c, level | masked | 0x44);
    write(0x1c, level | 0x2000 | 0x44);
    EXPECT_EQ(announced.size(), 1U) << "mask and polarity are not in a message";
    write(0x1d, 0x0102'0000);
    ASSERT_EQ(announced.size(), 2U);
    EXPECT_EQ(announced[1], ioapic.routes());
    EXPECT_EQ(ioapic.routes()[6], (Message{0xfee0'1020, 0, 0xc044}));
    ioapic.pin(6).set(true);
    ioapic.end_of_interrupt(0x44);
    EXPECT_EQ(announced.size(), 2U);
}

TEST(Ioapic, KvmKnowsAVectorBeforeItIsSent) {
    std::vector<char> order;
    struct Sink final : MessageSink {
        void send(const Message&) override { order->push_back('m'); }
        std::vector<char>* order = nullptr;
    } sink;
    sink.order = &order;
    Ioapic ioapic{
        {.base = 0x1000, .messages = sink, .routes_changed = [&](const auto&) { order.push_back('r'); }}};
    ioapic.pin(0).set(true);
    store(ioapic, 0x1000, 0x10);
    store(ioapic, 0x1010, level | 0x31);
    EXPECT_THAT(order, testing::ElementsAre('r', 'm'));
}

TEST(Ioapic, WorksWithoutAnybodyWhoWantsRoutes) {
    test::RecordedMessages messages;
    Ioapic ioapic{{.messages = messages, .routes_changed = {}}};
    store(ioapic, base, 0x10);
    store(ioapic, base + 0x10, 0x31);
    ioapic.pin(0).set(true);
    EXPECT_EQ(messages.sent.size(), 1U);
}

// A device raises and lowers, a vCPU ends what it gets, another one masks: after all have stopped, an
// asserted line is in service, and ends as often as it was sent.
TEST(Ioapic, LinesAndEndsRace) {
    struct Counter final : MessageSink {
        void send(const Message& message) override {
            if ((message.data & 0xff) == 0x41)
                edges.fetch_add(1);
            else
                levels.fetch_add(1);
        }
        std::atomic<unsigned> levels{0};
        std::atomic<unsigned> edges{0};
    } counter;
    constexpr unsigned rounds = 20'000;
    Ioapic ioapic{{.messages = counter, .routes_changed = {}}};
    const auto program = [&](unsigned pin, std::uint32_t low) {
        store(ioapic, base, 0x10 + 2 * pin);
        store(ioapic, base + 0x10, low);
    };
    program(5, level | 0x40);
    program(6, 0x41);
    unsigned ended = 0;
    std::atomic<bool> done{false};
    {
        std::vector<std::jthread> threads;
        threads.emplace_back([&] {
            for (unsigned i = 0; i < rounds; ++i) {
                ioapic.pin(5).set(true);
                ioapic.pin(5).set(false);
            }
            ioapic.pin(5).set(true);
            done = true;
        });
        threads.emplace_back([&] {
            for (unsigned i = 0; i < rounds; ++i) {
                ioapic.pin(6).set(true);
                ioapic.pin(6).set(false);
            }
        });
        threads.emplace_back([&] {
            while (!done) {
                if (counter.levels.load() > ended) {
                    ++ended;
                    ioapic.end_of_interrupt(0x40);
                }
            }
        });
        threads.emplace_back([&] {
            for (unsigned i = 0; i < rounds; ++i) {
                program(7, masked | i % 256);
                static_cast<void>(ioapic.routes());
            }
        });
    }
    EXPECT_EQ(counter.edges.load(), rounds);
    while (counter.levels.load() > ended) { // what was sent last
        ++ended;
        ioapic.pin(5).set(false);
        ioapic.end_of_interrupt(0x40);
    }
    ioapic.pin(5).set(true);
    EXPECT_EQ(counter.levels.load(), ended + 1) << "nothing is stuck in service";
    EXPECT_GT(ended, 0U);
}

} // namespace
} // namespace nestbed::device
