#include "stress/drivers/irqfd.hpp"

#include <chrono>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "stress/drivers/eventfd_relay.hpp"
#include "stress/wire/irqfd.hpp"

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Irqfd, EqualCountsPass) {
    for (const std::size_t vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U})
        EXPECT_THAT(judge_irqfd(std::vector<IrqfdCounts>(vcpus, {5, 5, 5, 5, 0})), IsEmpty());
    EXPECT_THAT(judge_irqfd(std::vector<IrqfdCounts>{{5, {}, {}, 5, 0}}), IsEmpty());
}

TEST(Irqfd, EachCountIsCompared) {
    const std::vector<IrqfdCounts> counts{{5, 4, 4, 4, 0}, {5, 5, 4, 5, 0},   {5, 5, 5, 6, 0},
                                          {0, 0, 0, 0, 0}, {7, {}, {}, 8, 0}, {7, {}, {}, 7, 1},
                                          {5, 5, 5, 5, 2}};
    EXPECT_THAT(judge_irqfd(counts), ElementsAre("vCPU 0: 5 writes, 4 signals, 4 raised, 4 interrupts",
                                                 "vCPU 1: 5 writes, 5 signals, 4 raised, 5 interrupts",
                                                 "vCPU 2: 5 writes, 5 signals, 5 raised, 6 interrupts",
                                                 "vCPU 3: wrote nothing", "vCPU 4: 7 writes, 8 interrupts",
                                                 "vCPU 5: 1 interrupts that no write had asked for",
                                                 "vCPU 6: 2 interrupts that no write had asked for"));
}

TEST(Irqfd, EachVcpuHasAPlaceOfItsOwn) {
    for (std::uint32_t vcpu = 2; vcpu < wire::irqfd::most_vcpus; ++vcpu) {
        if (wire::irqfd::uses_port(vcpu))
            EXPECT_EQ(wire::irqfd::port_of(vcpu), wire::irqfd::port_of(vcpu - 2) + 4);
        else
            EXPECT_EQ(wire::irqfd::address_of(vcpu), wire::irqfd::address_of(vcpu - 2) + 4);
    }
}

TEST(EventfdRelay, PassesEachSignalOnAndCountsIt) {
    constexpr std::size_t lines = 3;
    std::vector<Fd> fds;
    std::vector<EventfdRelay::Line> wired;
    for (std::size_t i = 0; i < 2 * lines; ++i)
        fds.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (std::size_t i = 0; i < lines; ++i)
        wired.push_back({fds[2 * i].get(), fds[2 * i + 1].get()});
    auto relay = EventfdRelay::start(wired);
    ASSERT_TRUE(relay) << relay.error().message();
    for (std::size_t i = 0; i < lines; ++i)
        for (std::uint64_t signal = 0; signal <= i; ++signal) {
            ASSERT_EQ(::eventfd_write(wired[i].from, 1), 0);
            std::uint64_t value = 0;
            const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{30};
            while (::eventfd_read(wired[i].to, &value) != 0 && std::chrono::steady_clock::now() < end)
                ::usleep(100);
            EXPECT_EQ(value, 1U) << "line " << i;
        }
    const auto& counts = relay->stop();
    for (std::size_t i = 0; i < lines; ++i) {
        EXPECT_EQ(counts[i].signalled, i + 1);
        EXPECT_EQ(counts[i].raised, i + 1);
    }
}

TEST(EventfdRelay, WhatCannotBeWatchedIsAnError) {
    EXPECT_FALSE(EventfdRelay::start({{-1, -1}}));
    EXPECT_TRUE(EventfdRelay::start({}));
}

} // namespace
} // namespace nestbed::stress
