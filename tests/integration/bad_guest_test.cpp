#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/machine/machine.hpp"
#include "process_state.hpp"
#include "tests/support/machine.hpp"

// Written by nestbed_payload() in core/guest/CMakeLists.txt.
extern "C" const std::byte bad_payload_image[];
extern "C" const std::byte bad_payload_image_end[];

namespace nestbed::machine {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class BadGuest : public test::MachineTest {
protected:
    void SetUp() override {
        MachineTest::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        auto read = boot::read_payload(std::span{&bad_payload_image[0], &bad_payload_image_end[0]});
        ASSERT_TRUE(read) << read.error().message();
        payload = std::move(*read);
    }

    // Up and well: every vCPU answers.
    MachinePtr booted(std::uint32_t vcpus) const {
        auto plan = plan_for(vcpus);
        if (!plan) {
            ADD_FAILURE() << plan.error().message();
            return nullptr;
        }
        auto machine = create(payload, std::move(*plan));
        if (!machine) {
            ADD_FAILURE() << machine.error().message();
            return nullptr;
        }
        for (const auto& step : {(*machine)->boot(test::patience), run(**machine, "good.answer")})
            if (!step) {
                ADD_FAILURE() << step.error().message();
                return nullptr;
            }
        return std::move(*machine);
    }

    // A job on vCPU 1 alone.
    static Status run_on_1(Machine& machine, std::string_view job, std::chrono::milliseconds deadline,
                           std::uint64_t argument = 0) {
        return machine.run_job(
            {.name = job, .arguments = {argument}, .first_vcpu = 1, .end_vcpu = 2, .deadline = deadline});
    }

    // Whatever a guest did, the next machine is well.
    void expect_next_is_well() const {
        const auto machine = booted(2);
        ASSERT_TRUE(machine);
        EXPECT_EQ(machine->mailbox(1).job_value[0], 101U);
    }

    boot::Payload payload;
};

struct BadCase {
    std::string job;
    std::chrono::milliseconds deadline;
    ErrorKind kind;
    std::vector<std::string> message;   // parts of the error's
    std::vector<std::string> diagnosis; // each must be part of one of the lines
};

std::ostream& operator<<(std::ostream& out, const BadCase& bad) {
    return out << bad.job;
}

class BadJob : public BadGuest, public testing::WithParamInterface<BadCase> {};

TEST_P(BadJob, IsReportedDiagnosedAndOutlived) {
    const auto& bad = GetParam();
    { const auto once = booted(3); }
    const auto before = test::process_state();
    {
        const auto machine = booted(3);
        ASSERT_TRUE(machine);
        const auto ran = run_on_1(*machine, bad.job, bad.deadline);
        ASSERT_FALSE(ran);
        EXPECT_EQ(ran.error().kind, bad.kind) << ran.error().message();
        for (const auto& part : bad.message)
            EXPECT_THAT(ran.error().message(), HasSubstr(part));

        if (bad.kind == ErrorKind::check_failed) {
            const auto again = run(*machine, "good.answer");
            ASSERT_FALSE(again) << "a dead machine stays dead";
            EXPECT_EQ(again.error().message(), ran.error().message()) << "and says of what";
        }
        const auto lines = machine->diagnose();
        EXPECT_THAT(lines, Contains(HasSubstr("vCPU 1 ")));
        EXPECT_THAT(lines, Contains("logged by vCPU 0: well")) << "what it said while it was";
        for (const auto& part : bad.diagnosis)
            EXPECT_THAT(lines, Contains(HasSubstr(part)));
        EXPECT_EQ(test::settled_threads(before.threads), before.threads) << "diagnose() stops all vCPUs";
        EXPECT_TRUE(machine->stop());
    }
    EXPECT_EQ(test::settled(before), before);
    expect_next_is_well();
}

INSTANTIATE_TEST_SUITE_P(
    All, BadJob,
    testing::Values(
        BadCase{"bad.triple_fault",
                test::patience,
                ErrorKind::check_failed,
                {"vCPU 1", "KVM_EXIT_SHUTDOWN", "triple fault"},
                {"KVM_EXIT_SHUTDOWN"}},
        BadCase{"bad.exception",
                test::patience,
                ErrorKind::check_failed,
                {"vCPU 1", "#UD (6)", "at 0x8:0x10", "rax 0x5eed"},
                {"vCPU 1: #UD (6)", "at 0x8:0x10"}}, // stopped on its way to the halt, or in it

        BadCase{"bad.page_fault",
                test::patience,
                ErrorKind::check_failed,
                {"vCPU 1", "#PF (14), error code 0x2", "cr2 0x400000000000"},
                {"vCPU 1: #PF (14)"}},
        BadCase{
            "bad.hang", 1s, ErrorKind::deadline, {"run bad.hang", "not finished", "by vCPU 1"}, {"runnable"}},
        BadCase{
            "bad.halt", 1s, ErrorKind::deadline, {"run bad.halt", "not finished", "by vCPU 1"}, {"halted"}},
        BadCase{"bad.early",
                300ms,
                ErrorKind::deadline,
                {"run bad.early", "not finished", "by vCPU 1"},
                {"vCPU 1 "}}),
    [](const auto& test_case) {
        auto name = test_case.param.job.substr(4);
        std::erase(name, '_');
        return name;
    });

// All of it at once: ring, header and mailbox, with patterns that are small, large and misleading.
class Garbage : public BadGuest, public testing::WithParamInterface<std::uint64_t> {};

TEST_P(Garbage, EverywhereIsReportedAndBelievedNowhere) {
    const auto before = [&] {
        { const auto once = booted(3); }
        return test::process_state();
    }();
    {
        const auto machine = booted(3);
        ASSERT_TRUE(machine);
        // A pattern that looks like an exception report is taken for one; zeros look like silence.
        const bool silent = GetParam() == 0;
        const auto ran = run_on_1(*machine, "bad.mailbox", silent ? 1s : test::patience, GetParam());
        ASSERT_FALSE(ran);
        EXPECT_EQ(ran.error().kind, silent ? ErrorKind::deadline : ErrorKind::check_failed)
            << ran.error().message();
        EXPECT_THAT(ran.error().message(), HasSubstr("vCPU 1"));
        EXPECT_TRUE(silent || machine->last_lines().size() == GuestLink::most_last_lines)
            << "the ring was written before the report";
        for (const auto& line : machine->last_lines())
            EXPECT_THAT(line, Each(testing::AllOf(testing::Ge(' '), testing::Le('~'))));
        EXPECT_GE(machine->progress(), 0.0);
        EXPECT_LE(machine->progress(), 1.0);
        EXPECT_THAT(machine->diagnose(), Contains(HasSubstr("vCPU 1 ")));
        EXPECT_EQ(test::settled_threads(before.threads), before.threads);
    }
    EXPECT_EQ(test::settled(before), before);
    expect_next_is_well();
}

INSTANTIATE_TEST_SUITE_P(Patterns, Garbage,
                         testing::Values(0, 1, 0x0000'0001'0000'0001, 0x4141'4141'4141'4141,
                                         0x7fff'ffff'ffff'ffff, ~std::uint64_t{0}),
                         [](const auto& test_case) { return fmt::format("{:x}", test_case.param); });

TEST_F(BadGuest, GarbageInTheRingIsTextAndNoMore) {
    const auto machine = booted(2);
    ASSERT_TRUE(machine);
    // A log record of a vCPU that is not there, with more text than a record holds.
    const auto ran = run_on_1(*machine, "bad.ring", test::patience, 0x1b41'1b42'01ff'ffff);
    ASSERT_TRUE(ran) << ran.error().message();
    const auto again = run(*machine, "good.answer");
    EXPECT_TRUE(again) << again.error().message();
    EXPECT_EQ(machine->last_lines().size(), GuestLink::most_last_lines);
    EXPECT_THAT(machine->last_lines(), Each(StartsWith("vCPU 16777215 (there is none): ????B?A?")))
        << "the escapes are gone";
}

TEST_F(BadGuest, AJobThatCouldNotRunIsNamedWithItsValue) {
    const auto machine = booted(3);
    ASSERT_TRUE(machine);
    const auto ran = machine->run_job(
        {.name = "bad.status", .arguments = {2}, .first_vcpu = 0, .end_vcpu = 3, .deadline = test::patience});
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(ran.error().message(),
                AllOf(HasSubstr("bad.status on vCPU 2"), HasSubstr("status 2, value 0x77")));
}

TEST_F(BadGuest, TheFirstDeathIsTheCause) {
    const auto machine = booted(3);
    ASSERT_TRUE(machine);
    const auto ran = run_on_1(*machine, "bad.exception", test::patience);
    ASSERT_FALSE(ran);
    machine->mailbox(0).exception.state = 1; // and now vCPU 0 as well
    EXPECT_TRUE(machine->stop());            // looks once more
    const auto again = run(*machine, "good.answer");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message(), ran.error().message());
}

TEST_F(BadGuest, LogsReachTheHost) {
    const auto machine = booted(2); // runs good.answer, which logs a line on vCPU 0
    ASSERT_TRUE(machine);
    ASSERT_TRUE(supervisor().await([&] { return !machine->last_lines().empty(); },
                                   supervise::Clock::now() + test::patience, "a line"));
    EXPECT_THAT(machine->last_lines(), ElementsAre("vCPU 0: well"));
}

TEST_F(BadGuest, ManyHungVcpusAreSummedUp) {
    const auto machine = booted(12);
    ASSERT_TRUE(machine);
    const auto ran = run(*machine, "bad.halt", 300ms);
    ASSERT_FALSE(ran);
    EXPECT_THAT(ran.error().found, HasSubstr("by vCPUs 0-11"));
    const auto lines = machine->diagnose();
    EXPECT_THAT(lines, Contains(HasSubstr("and 4 more: vCPUs 0-11")));
    EXPECT_THAT(lines, Not(Contains(HasSubstr("vCPU 8 (APIC id"))));
}

TEST_F(BadGuest, AHealthyMachineHasNoSuspects) {
    const auto machine = booted(2);
    ASSERT_TRUE(machine);
    EXPECT_THAT(machine->diagnose(), IsEmpty());
}

} // namespace
} // namespace nestbed::machine
