#include "core/machine/guest_link.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/machine/inspection.hpp"

namespace nestbed::machine {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint32_t vcpus = 5;

// The guest is this test: what a guest would write into its memory, it writes.
class GuestLinkTest : public testing::Test {
protected:
    void SetUp() override {
        topology::Plan plan;
        plan.shape = {.sockets = 1, .dies = 1, .cores = vcpus, .threads = 1};
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
            plan.vcpus.push_back({.vcpu = vcpu, .apic_id = vcpu, .virtual_node = 0, .pus = {}, .reason = {}});
        plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = 4 * MiB, .reason = {}}};
        auto allocated = GuestMemory::allocate(plan);
        ASSERT_TRUE(allocated) << allocated.error().message();
        memory = std::move(*allocated);
        auto placed = boot::place_guest(plan, memory.ranges(), MiB, false);
        ASSERT_TRUE(placed) << placed.error().message();
        placement = std::move(*placed);
        link = GuestLink{memory, placement};
    }

    wire::Mailbox& mailbox(std::uint32_t vcpu) const {
        return *memory.object<wire::Mailbox>(placement.blocks[vcpu] + wire::percpu_mailbox);
    }
    wire::Header& header() const { return *memory.object<wire::Header>(placement.header.address); }
    wire::Ring& ring() const { return *memory.object<wire::Ring>(placement.ring.address); }
    wire::BootBlock& boot_block() const { return *memory.object<wire::BootBlock>(wire::boot_block_gpa); }

    void give(std::uint32_t first, std::uint32_t end, std::uint32_t index = 0) {
        link.give_job(index, std::array<std::uint64_t, wire::job_arguments>{}, first, end);
    }
    void finish(std::uint32_t vcpu, std::uint64_t number,
                wire::JobStatus status = wire::JobStatus::done) const {
        mailbox(vcpu).job_status = static_cast<std::uint64_t>(status);
        mailbox(vcpu).jobs_done = number;
    }
    // As guest::log() does.
    void log(std::uint64_t ticket, std::uint32_t vcpu, const std::string& text,
             wire::RecordKind kind = wire::RecordKind::log) const {
        auto& record = ring().slots[ticket % wire::ring_slots];
        record.vcpu = vcpu & 0xff'ffffU;
        record.kind = static_cast<std::uint32_t>(kind) & 0xffU;
        record.length = static_cast<std::uint32_t>(text.size());
        std::memcpy(record.text, text.data(), text.size());
        record.ready = ticket + 1;
    }

    GuestMemory memory;
    boot::GuestPlacement placement;
    GuestLink link;
};

TEST(GuestLink, ToNoGuestSeesNothing) {
    GuestLink none;
    EXPECT_EQ(none.vcpus(), 0U);
    EXPECT_EQ(none.progress(), 0.0);
    EXPECT_FALSE(none.look());
    EXPECT_THAT(none.suspects(), IsEmpty());
    EXPECT_THAT(none.last_lines(), IsEmpty());
    EXPECT_EQ(none.dropped_lines(), 0U);
}

TEST_F(GuestLinkTest, BeforeTheFirstJobAllAreToComeOnline) {
    EXPECT_THAT(link.unfinished(), ElementsAre(0, 1, 2, 3, 4));
    EXPECT_EQ(link.progress(), 0.0);
    mailbox(1).tsc_online = 1;
    mailbox(4).tsc_online = ~std::uint64_t{0};
    EXPECT_THAT(link.unfinished(), ElementsAre(0, 2, 3));
    EXPECT_EQ(link.progress(), 2.0 / 5);
    EXPECT_FALSE(link.all_finished());
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        mailbox(vcpu).tsc_online = 7;
    EXPECT_TRUE(link.all_finished());
    EXPECT_EQ(link.progress(), 1.0);
}

TEST_F(GuestLinkTest, NoMoreAreOnlineThanThereAre) {
    EXPECT_EQ(link.online(), 0U);
    header().online = 3;
    EXPECT_EQ(link.online(), 3U);
    for (const std::uint64_t lie : {std::uint64_t{6}, std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
        header().online = lie;
        EXPECT_EQ(link.online(), vcpus);
    }
}

TEST_F(GuestLinkTest, AJobIsWrittenForThoseThatAreToRunIt) {
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        std::ranges::fill(mailbox(vcpu).job_value, 99U);
    const std::array<std::uint64_t, wire::job_arguments> arguments{11, 12, 13, 14, 15, 16, 17, 18};
    link.give_job(7, arguments, 1, 4);
    EXPECT_EQ(header().job.index, 7U);
    EXPECT_THAT(header().job.arguments, testing::ElementsAreArray(arguments));
    EXPECT_EQ(header().pending, 3U);
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        EXPECT_EQ(mailbox(vcpu).job, vcpu >= 1 && vcpu < 4 ? 1U : 0U) << vcpu;
        EXPECT_THAT(mailbox(vcpu).job_value, Each(0)) << "others may interrupt a vCPU that runs nothing";
    }
    give(0, vcpus);
    EXPECT_EQ(header().pending, 5U);
    EXPECT_EQ(mailbox(0).job, 2U) << "the number of the machine's job, not of the vCPU's";
}

TEST_F(GuestLinkTest, OnlyTheJobAtHandCounts) {
    give(0, vcpus);
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        finish(vcpu, 1);
    EXPECT_TRUE(link.all_finished());
    give(1, 4);
    EXPECT_THAT(link.unfinished(), ElementsAre(1, 2, 3)) << "they finished the one before";
    EXPECT_EQ(link.progress(), 0.0);
    finish(3, 2);
    finish(1, 3); // of the future
    EXPECT_THAT(link.unfinished(), ElementsAre(1, 2));
    EXPECT_EQ(link.progress(), 1.0 / 3);
    finish(1, 2);
    EXPECT_FALSE(link.all_finished());
    finish(2, 2);
    EXPECT_TRUE(link.all_finished()) << "0 and 4 have no part in it";
    EXPECT_EQ(link.progress(), 1.0);
}

TEST_F(GuestLinkTest, AJobThatCouldNotRunIsNamedWithItsValue) {
    give(1, 4);
    finish(0, 1, wire::JobStatus::failed); // has no part in it
    for (const std::uint32_t vcpu : {1U, 2U, 3U})
        finish(vcpu, 1);
    EXPECT_TRUE(link.outcome("a.job"));
    finish(3, 1, wire::JobStatus::failed);
    mailbox(3).job_value[0] = 0x77;
    const auto outcome = link.outcome("a.job");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(outcome.error().message(),
                AllOf(HasSubstr("a.job on vCPU 3"), HasSubstr("status 2, value 0x77")));
    finish(1, 1, wire::JobStatus::none);
    EXPECT_THAT(link.outcome("a.job").error().message(), HasSubstr("a.job on vCPU 1"));
}

TEST_F(GuestLinkTest, AnExceptionIsWhatItDiedOf) {
    EXPECT_FALSE(link.look());
    EXPECT_FALSE(link.exception(4));
    mailbox(4).exception.vector = 13;
    EXPECT_FALSE(link.look()) << "not complete yet";
    mailbox(4).exception.state = 1;
    const auto death = link.look();
    ASSERT_TRUE(death);
    EXPECT_EQ(death->kind, ErrorKind::check_failed);
    EXPECT_THAT(death->message(), AllOf(HasSubstr("vCPU 4"), HasSubstr("#GP (13)")));
    ASSERT_TRUE(link.exception(4));
    EXPECT_EQ(link.exception(4)->vector, 13U);
}

TEST_F(GuestLinkTest, AnApicIdOfNobodyIsWhatItDiedOf) {
    boot_block().lost_apic_id = 1; // the id and 1
    const auto death = link.look();
    ASSERT_TRUE(death);
    EXPECT_THAT(death->found, HasSubstr("APIC id 0,"));
    boot_block().lost_apic_id = 300;
    EXPECT_THAT(link.look()->found, HasSubstr("APIC id 299,"));
}

TEST_F(GuestLinkTest, SuspectsDidNotFinishOrMetAnException) {
    EXPECT_THAT(link.suspects(), ElementsAre(0, 1, 2, 3, 4)) << "none is online";
    give(1, 4);
    finish(2, 1);
    EXPECT_THAT(link.suspects(), ElementsAre(1, 3));
    mailbox(0).exception.state = 1; // runs no job
    mailbox(2).exception.state = 1; // has finished its
    EXPECT_THAT(link.suspects(), ElementsAre(0, 1, 2, 3));
}

TEST_F(GuestLinkTest, LinesAreTakenInTheOrderOfTheirTickets) {
    log(1, 3, "second");
    EXPECT_FALSE(link.look());
    EXPECT_THAT(link.last_lines(), IsEmpty()) << "the first is still being written";
    log(0, 2, "first");
    EXPECT_FALSE(link.look());
    EXPECT_THAT(link.last_lines(), ElementsAre("vCPU 2: first", "vCPU 3: second"));
    EXPECT_EQ(ring().tail, 2U) << "their slots are free again";
    EXPECT_FALSE(link.look());
    EXPECT_EQ(link.last_lines().size(), 2U) << "each is taken once";
}

TEST_F(GuestLinkTest, OnlyTheLastLinesAreKept) {
    for (std::uint64_t ticket = 0; ticket < wire::ring_slots + 20; ++ticket) {
        log(ticket, 0, std::to_string(ticket));
        ASSERT_FALSE(link.look());
    }
    EXPECT_EQ(ring().tail, wire::ring_slots + 20U);
    EXPECT_EQ(link.last_lines().size(), GuestLink::most_last_lines);
    EXPECT_EQ(link.last_lines().front(), "vCPU 0: 1028");
    EXPECT_EQ(link.last_lines().back(), "vCPU 0: 1043") << "the ring begins again";
}

TEST_F(GuestLinkTest, WhoLogsIsChecked) {
    log(0, vcpus - 1, "last");
    log(1, vcpus, "one too many");
    log(2, 0xff'ffff, "far too many");
    log(3, 0, "text?", static_cast<wire::RecordKind>(2));
    ASSERT_FALSE(link.look());
    EXPECT_THAT(link.last_lines(), ElementsAre("vCPU 4: last", "vCPU 5 (there is none): one too many",
                                               "vCPU 16777215 (there is none): far too many",
                                               "vCPU 0: a record of unknown kind 2"));
}

TEST_F(GuestLinkTest, OneLookTakesOneRingAtMost) {
    // Slots that say "ready" for the next round as well would keep a reader that trusts them for ever.
    for (std::uint64_t ticket = 0; ticket < wire::ring_slots; ++ticket)
        log(ticket, 0, "x");
    ring().head = ~std::uint64_t{0};
    ring().tail = ~std::uint64_t{0};
    ASSERT_FALSE(link.look());
    EXPECT_EQ(ring().tail, wire::ring_slots);
}

TEST_F(GuestLinkTest, LostLinesAreCountedByTheGuest) {
    log(0, 2, "last words");
    ASSERT_FALSE(link.look());
    EXPECT_THAT(describe_log(link), ElementsAre("logged by vCPU 2: last words"));
    ring().dropped = 12;
    EXPECT_EQ(link.dropped_lines(), 12U);
    EXPECT_THAT(describe_log(link), ElementsAre("logged by vCPU 2: last words", HasSubstr("12 lines")));
}

} // namespace
} // namespace nestbed::machine
