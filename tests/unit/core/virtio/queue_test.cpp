#include "core/virtio/queue.hpp"

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest.hpp"

namespace nestbed::virtio {
namespace {

using namespace test;

constexpr std::uint64_t data_at = Ram::start + 0x10000;
constexpr std::uint64_t table_at = Ram::start + 0x9002;
constexpr std::uint16_t size = 8;

class QueueTest : public testing::Test {
protected:
    Queue make(bool indirect = true, bool event_index = false) {
        auto setup = driver.setup();
        setup.indirect = indirect;
        setup.event_index = event_index;
        setup.longest_chain = 32;
        auto queue = Queue::create(setup, ram.callable());
        EXPECT_TRUE(queue) << queue.error();
        return *std::move(queue);
    }

    Ram ram;
    DriverQueue driver{ram, size};
};

struct PlaceCase {
    const char* name;
    std::function<void(QueueSetup&)> change;
    const char* error; // none: it is taken
};

class Place : public QueueTest, public testing::WithParamInterface<PlaceCase> {};

TEST_P(Place, IsChecked) {
    auto setup = driver.setup();
    GetParam().change(setup);
    const auto queue = Queue::create(setup, ram.callable());
    if (GetParam().error == nullptr) {
        EXPECT_TRUE(queue) << queue.error();
    } else {
        ASSERT_FALSE(queue);
        EXPECT_THAT(queue.error(), testing::HasSubstr(GetParam().error));
    }
}

INSTANTIATE_TEST_SUITE_P(
    All, Place,
    testing::Values(
        PlaceCase{"as_it_is", [](auto&) {}, nullptr},
        PlaceCase{"no_size", [](auto& setup) { setup.size = 0; }, "a queue of 0"},
        PlaceCase{"no_power_of_two", [](auto& setup) { setup.size = 24; }, "a queue of 24"},
        PlaceCase{"too_large", [](auto& setup) { setup.size = 2048; }, "a queue of 2048"},
        PlaceCase{"misaligned_descriptors", [](auto& setup) { setup.descriptors += 8; }, "misaligned"},
        PlaceCase{"misaligned_available", [](auto& setup) { setup.available += 1; }, "misaligned"},
        PlaceCase{"misaligned_used", [](auto& setup) { setup.used += 2; }, "misaligned"},
        PlaceCase{"descriptors_nowhere", [](auto& setup) { setup.descriptors = 0; }, "not in RAM"},
        PlaceCase{"descriptors_at_the_end", [](auto& setup) { setup.descriptors = Ram::end - 16ULL * size; },
                  nullptr},
        PlaceCase{"descriptors_across_the_end",
                  [](auto& setup) { setup.descriptors = Ram::end - 16ULL * size + 16; }, "not in RAM"},
        PlaceCase{"descriptors_across_ranges", [](auto& setup) { setup.descriptors = Ram::border - 16; },
                  "one range"},
        PlaceCase{"available_across_the_end",
                  [](auto& setup) { setup.available = Ram::end - 4 - 2ULL * size; }, "not in RAM"},
        PlaceCase{"available_with_its_event",
                  [](auto& setup) { setup.available = Ram::end - 6 - 2ULL * size; }, nullptr},
        PlaceCase{"used_across_the_end", [](auto& setup) { setup.used = Ram::end - 4 - 8ULL * size; },
                  "not in RAM"},
        PlaceCase{"used_with_its_event", [](auto& setup) { setup.used = Ram::end - 8 - 8ULL * size; },
                  nullptr},
        PlaceCase{"used_wraps", [](auto& setup) { setup.used = UINT64_MAX - 3; }, "not in RAM"}),
    [](const auto& test_case) { return std::string{test_case.param.name}; });

TEST_F(QueueTest, AChainHasItsBuffersInOrder) {
    auto queue = make();
    driver.add({{data_at, 16, false}, {data_at + 100, 3, false}, {data_at + 200, 5, true}});
    const auto chain = queue.pop();
    ASSERT_TRUE(chain && *chain);
    EXPECT_EQ((*chain)->head, 0);
    ASSERT_EQ((*chain)->readable.size(), 2U);
    EXPECT_EQ((*chain)->readable[0].data(), ram.at(data_at, 16).data());
    EXPECT_EQ((*chain)->readable[0].size(), 16U);
    EXPECT_EQ((*chain)->readable[1].data(), ram.at(data_at + 100, 3).data());
    ASSERT_EQ((*chain)->writable.size(), 1U);
    EXPECT_EQ((*chain)->writable[0].data(), ram.at(data_at + 200, 5).data());
    EXPECT_EQ((*chain)->writable[0].size(), 5U);
    const auto none = queue.pop();
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
}

TEST_F(QueueTest, ABufferAcrossRangesIsTwo) {
    auto queue = make();
    driver.add({{Ram::border - 3, 10, true}});
    const auto chain = queue.pop();
    ASSERT_TRUE(chain && *chain);
    ASSERT_EQ((*chain)->writable.size(), 2U);
    EXPECT_EQ((*chain)->writable[0].data(), ram.at(Ram::border - 3, 3).data());
    EXPECT_EQ((*chain)->writable[0].size(), 3U);
    EXPECT_EQ((*chain)->writable[1].data(), ram.at(Ram::border, 7).data());
    EXPECT_EQ((*chain)->writable[1].size(), 7U);
}

// Not aligned, behind a descriptor that is direct, and longer than the queue.
TEST_F(QueueTest, AnIndirectTableEndsAChain) {
    auto queue = make();
    std::vector<Buffer> buffers;
    for (std::uint64_t i = 0; i < 30; ++i)
        buffers.push_back({data_at + 16 * i, 16, i >= 10});
    const auto indirect = driver.write_indirect(buffers, table_at);
    driver.set_descriptor(driver.descriptors, 5, data_at + 0x1000, 1, flag_next, indirect);
    driver.publish(5);
    const auto chain = queue.pop();
    ASSERT_TRUE(chain && *chain) << chain.error();
    EXPECT_EQ((*chain)->head, 5);
    EXPECT_EQ((*chain)->readable.size(), 11U);
    EXPECT_EQ((*chain)->writable.size(), 20U);
}

TEST_F(QueueTest, IndicesWrap) {
    auto queue = make();
    for (int i = 0; i < 70'000; ++i) {
        const auto head = driver.add({{data_at, 16, true}});
        const auto chain = queue.pop();
        ASSERT_TRUE(chain && *chain);
        ASSERT_EQ((*chain)->head, head);
        queue.push(head, 7);
        ASSERT_THAT(driver.take_used(), testing::ElementsAre(Used{head, 7}));
    }
}

struct MalformedCase {
    const char* name;
    std::function<void(DriverQueue&)> make;
    const char* error;
};

class Malformed : public QueueTest, public testing::WithParamInterface<MalformedCase> {};

TEST_P(Malformed, IsRefused) {
    auto queue = make();
    GetParam().make(driver);
    const auto chain = queue.pop();
    ASSERT_FALSE(chain);
    EXPECT_THAT(chain.error(), testing::HasSubstr(GetParam().error));
}

void descriptor(DriverQueue& driver, std::uint16_t index, std::uint64_t address, std::uint32_t bytes,
                unsigned flags = 0, std::uint16_t next = 0) {
    driver.set_descriptor(driver.descriptors, index, address, bytes, static_cast<std::uint16_t>(flags), next);
}

void one(DriverQueue& driver, std::uint64_t address, std::uint32_t bytes, unsigned flags = 0,
         std::uint16_t next = 0) {
    descriptor(driver, 0, address, bytes, flags, next);
    driver.publish(0);
}

INSTANTIATE_TEST_SUITE_P(
    All, Malformed,
    testing::Values(
        MalformedCase{"head_behind_the_table", [](auto& d) { d.publish(size); }, "descriptor 8 of 8"},
        MalformedCase{"next_behind_the_table", [](auto& d) { one(d, data_at, 1, flag_next, 0xffff); },
                      "descriptor 65535 of 8"},
        MalformedCase{"index_jumps", [](auto& d) { d.set_available_index(size + 1); }, "from 0 to 9"},
        MalformedCase{"index_goes_back", [](auto& d) { d.set_available_index(0xffff); }, "from 0 to 65535"},
        MalformedCase{"own_next", [](auto& d) { one(d, data_at, 1, flag_next, 0); }, "a loop"},
        MalformedCase{"circle",
                      [](auto& d) {
                          descriptor(d, 1, data_at, 1, flag_next, 2);
                          descriptor(d, 2, data_at, 1, flag_next, 1);
                          one(d, data_at, 1, flag_next, 1);
                      },
                      "a loop"},
        MalformedCase{"no_bytes", [](auto& d) { one(d, data_at, 0); }, "no bytes"},
        MalformedCase{"below_ram", [](auto& d) { one(d, Ram::start - 1, 16); }, "not all RAM"},
        MalformedCase{"behind_ram", [](auto& d) { one(d, Ram::end, 1); }, "not all RAM"},
        MalformedCase{"across_the_end", [](auto& d) { one(d, Ram::end - 1, 2); }, "not all RAM"},
        MalformedCase{"wraps", [](auto& d) { one(d, UINT64_MAX - 3, 16); }, "not all RAM"},
        MalformedCase{"wraps_into_ram", [](auto& d) { one(d, Ram::start - 0x10000'0000, UINT32_MAX); },
                      "not all RAM"},
        MalformedCase{"longest", [](auto& d) { one(d, data_at, UINT32_MAX); }, "not all RAM"},
        MalformedCase{"read_behind_write",
                      [](auto& d) {
                          descriptor(d, 1, data_at, 1);
                          one(d, data_at, 1, flag_next | flag_write, 1);
                      },
                      "behind one to fill"},
        MalformedCase{"indirect_and_next",
                      [](auto& d) { one(d, table_at, 16, flag_indirect | flag_next, 1); },
                      "indirect descriptor where none"},
        MalformedCase{"indirect_in_indirect",
                      [](auto& d) {
                          d.set_descriptor(table_at, 0, table_at, 16, flag_indirect, 0);
                          one(d, table_at, 16, flag_indirect);
                      },
                      "indirect descriptor where none"},
        MalformedCase{"indirect_of_none", [](auto& d) { one(d, table_at, 0, flag_indirect); }, "table of 0"},
        MalformedCase{"indirect_of_a_half", [](auto& d) { one(d, table_at, 24, flag_indirect); },
                      "table of 24"},
        MalformedCase{"indirect_too_long", [](auto& d) { one(d, table_at, 33 * 16, flag_indirect); },
                      "table of 528"},
        MalformedCase{"indirect_nowhere", [](auto& d) { one(d, 0, 16, flag_indirect); }, "one RAM range"},
        MalformedCase{"indirect_across_ranges", [](auto& d) { one(d, Ram::border - 8, 16, flag_indirect); },
                      "one RAM range"},
        MalformedCase{"indirect_loop",
                      [](auto& d) {
                          d.set_descriptor(table_at, 0, data_at, 1, flag_next, 1);
                          d.set_descriptor(table_at, 1, data_at, 1, flag_next, 0);
                          one(d, table_at, 32, flag_indirect);
                      },
                      "a loop"},
        MalformedCase{"indirect_next_behind_the_table",
                      [](auto& d) {
                          d.set_descriptor(table_at, 0, data_at, 1, flag_next, 1);
                          one(d, table_at, 16, flag_indirect);
                      },
                      "descriptor 1 of 1"}),
    [](const auto& test_case) { return std::string{test_case.param.name}; });

TEST_F(QueueTest, IndirectTablesHaveToBeAgreedUpon) {
    auto queue = make(false);
    driver.publish(driver.write_indirect({{data_at, 16, true}}, table_at));
    EXPECT_FALSE(queue.pop());
}

// A RAM of 3 GiB as far as addresses go; nothing of it is touched.
TEST(QueueOfLargeBuffers, TogetherStayBelow4GiB) {
    Ram ram;
    DriverQueue driver{ram, size};
    std::byte nowhere{};
    auto queue = Queue::create(driver.setup(), [&](std::uint64_t address, std::uint64_t bytes) {
        return address < Ram::end ? ram.at(address, bytes) : std::span{&nowhere, bytes};
    });
    ASSERT_TRUE(queue);
    driver.add({{0x1000'0000, 0x8000'0000, true}, {0x1000'0000, 0x7fff'ffff, true}});
    driver.add({{0x1000'0000, 0x8000'0000, true}, {0x1000'0000, 0x8000'0000, true}});
    const auto chain = queue->pop();
    ASSERT_TRUE(chain && *chain);
    EXPECT_EQ(total_bytes((*chain)->writable), UINT32_MAX);
    EXPECT_FALSE(queue->pop());
}

TEST_F(QueueTest, FlagsSilenceEitherSide) {
    auto queue = make();
    EXPECT_FALSE(queue.wants_interrupt()) << "nothing was pushed";
    queue.push(0, 0);
    EXPECT_TRUE(queue.wants_interrupt());
    EXPECT_FALSE(queue.wants_interrupt()) << "asked already";
    driver.set_available_flags(1);
    queue.push(0, 0);
    EXPECT_FALSE(queue.wants_interrupt());
    driver.set_available_flags(0);
    EXPECT_FALSE(queue.wants_interrupt()) << "the driver looked after it had set the flag";

    EXPECT_EQ(driver.used_flags(), 0);
    queue.disable_notifications();
    EXPECT_EQ(driver.used_flags(), 1);
    EXPECT_FALSE(queue.enable_notifications());
    EXPECT_EQ(driver.used_flags(), 0);
    driver.add({{data_at, 1, true}});
    EXPECT_TRUE(queue.enable_notifications()) << "added behind its back";
}

struct EventCase {
    std::uint16_t before; // used index when the device was last asked
    std::uint16_t pushed;
    std::uint16_t event;
    bool interrupt;
};

// Section 2.7.10: an interrupt when the entry at `event` was used.
TEST_F(QueueTest, EventIndexSaysWhenToInterrupt) {
    for (const auto& [before, pushed, event, interrupt] :
         {EventCase{0, 1, 0, true}, EventCase{0, 1, 1, false}, EventCase{0, 1, 0xffff, false},
          EventCase{0, 3, 2, true}, EventCase{0, 3, 3, false}, EventCase{5, 3, 4, false},
          EventCase{5, 3, 5, true}, EventCase{5, 3, 7, true}, EventCase{5, 3, 8, false},
          EventCase{0xfffe, 4, 0xfffd, false}, EventCase{0xfffe, 4, 0xfffe, true},
          EventCase{0xfffe, 4, 0, true}, EventCase{0xfffe, 4, 1, true}, EventCase{0xfffe, 4, 2, false}}) {
        auto queue = make(true, true);
        for (std::uint32_t i = 0; i < before; ++i)
            queue.push(0, 0);
        driver.set_used_event(static_cast<std::uint16_t>(before - 100));
        static_cast<void>(queue.wants_interrupt());
        driver.set_used_event(event);
        for (std::uint32_t i = 0; i < pushed; ++i)
            queue.push(0, 0);
        EXPECT_EQ(queue.wants_interrupt(), interrupt) << before << " + " << pushed << ", event " << event;
    }
}

TEST_F(QueueTest, EventIndexSaysWhenToNotify) {
    auto queue = make(true, true);
    driver.add({{data_at, 1, true}});
    driver.add({{data_at, 1, true}});
    ASSERT_TRUE(*queue.pop());
    EXPECT_TRUE(queue.enable_notifications()) << "one more is there";
    EXPECT_EQ(driver.available_event(), 1);
    ASSERT_TRUE(*queue.pop());
    queue.disable_notifications();
    EXPECT_EQ(driver.available_event(), 1) << "left behind";
    EXPECT_EQ(driver.used_flags(), 0) << "section 2.7.10: flags are not used";
    EXPECT_FALSE(queue.enable_notifications());
    EXPECT_EQ(driver.available_event(), 2);
}

// A driver and a device that both sleep as soon as they may: neither sleeps for ever.
TEST_F(QueueTest, NobodyMissesTheOther) {
    constexpr std::uint32_t rounds = 20'000;
    auto queue = make(true, true);
    std::atomic<std::uint32_t> kicks{1};
    std::atomic<std::uint32_t> interrupts{0};
    std::thread device{[&] {
        std::uint32_t seen = 0;
        for (std::uint32_t done = 0; done < rounds;) {
            const auto chain = queue.pop();
            ASSERT_TRUE(chain);
            if (*chain) {
                queue.push((*chain)->head, 1);
                ++done;
                if (queue.wants_interrupt()) {
                    ++interrupts;
                    interrupts.notify_one();
                }
            } else if (!queue.enable_notifications()) {
                kicks.wait(seen);
                seen = kicks;
            }
        }
    }};
    std::uint32_t seen = 0;
    for (std::uint32_t i = 0; i < rounds; ++i) {
        driver.set_used_event(static_cast<std::uint16_t>(i));
        const auto index = driver.add({{data_at, 16, true}});
        static_cast<void>(index);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (driver.available_event() == static_cast<std::uint16_t>(i)) {
            ++kicks;
            kicks.notify_one();
        }
        while (driver.used_index() != static_cast<std::uint16_t>(i + 1)) {
            interrupts.wait(seen);
            seen = interrupts;
        }
    }
    device.join();
    EXPECT_EQ(driver.take_used().size(), rounds % 65536);
}

} // namespace
} // namespace nestbed::virtio
