#include "core/machine/machine.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process_state.hpp"
#include "stress/payload.hpp"
#include "stress/wire/jobs.hpp"
#include "tests/support/machine.hpp"
#include "topology/verify.hpp"

namespace nestbed::machine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// With the program's own payload, of which only "bringup.answer" is used: it wants no tables.
class GoodMachine : public test::MachineTest {
protected:
    void SetUp() override {
        MachineTest::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        auto read = stress::embedded_payload();
        ASSERT_TRUE(read) << read.error().message();
        payload = std::move(*read);
    }

    MachinePtr created(topology::Plan plan) const {
        auto machine = create(payload, std::move(plan));
        if (!machine) {
            ADD_FAILURE() << machine.error().message();
            return nullptr;
        }
        return std::move(*machine);
    }

    // Boots, lets every vCPU answer, and checks what a machine of this plan must be.
    static void expect_alive(Machine& machine) {
        const auto booted = machine.boot(test::patience);
        ASSERT_TRUE(booted) << booted.error().message();
        EXPECT_EQ(machine.progress(), 1.0);
        EXPECT_EQ(machine.header().tsc_khz, machine.tsc_khz()) << "the guest's waits are made of it";
        const auto ran = run(machine, "bringup.answer");
        ASSERT_TRUE(ran) << ran.error().message();
        const auto& vcpus = machine.plan().vcpus;
        for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
            EXPECT_EQ(machine.mailbox(vcpu).seen_apic_id, vcpus[vcpu].apic_id);
            EXPECT_NE(machine.mailbox(vcpu).job_value[0], 0U) << "TSC of its answer";
            EXPECT_EQ(machine.mailbox(vcpu).spurious_interrupts, 0U);
        }
        const auto observed = machine.chassis().observe();
        ASSERT_TRUE(observed) << observed.error().message();
        for (const auto& drift : topology::compare(machine.plan(), *observed))
            ADD_FAILURE() << drift.what << ": planned " << drift.planned << ", found " << drift.found;
    }

    boot::Payload payload;
};

struct SizeCase {
    std::uint32_t vcpus = 1;
    std::optional<topology::Shape> shape{};
};

class Sizes : public GoodMachine, public testing::WithParamInterface<SizeCase> {};

TEST_P(Sizes, EveryVcpuComesUpWithItsOwnIdAndAnswers) {
    if (const auto most = kvm().check_extension(KVM_CAP_MAX_VCPUS); std::cmp_less(most, GetParam().vcpus))
        GTEST_SKIP() << "this KVM allows " << most << " vCPUs (KVM_CAP_MAX_VCPUS)";
    auto plan = plan_for(GetParam().vcpus, GetParam().shape);
    ASSERT_TRUE(plan) << plan.error().message();
    const auto machine = created(std::move(*plan));
    ASSERT_TRUE(machine);
    ASSERT_EQ(machine->vcpus(), GetParam().vcpus);
    expect_alive(*machine);
}

std::string name_of(const testing::TestParamInfo<SizeCase>& test_case) {
    const auto& [vcpus, shape] = test_case.param;
    return shape ? fmt::format("{}_{}x{}x{}", vcpus, shape->sockets, shape->cores, shape->threads)
                 : fmt::to_string(vcpus);
}

INSTANTIATE_TEST_SUITE_P(
    All, Sizes,
    testing::Values(SizeCase{1}, SizeCase{2}, SizeCase{4}, SizeCase{17}, SizeCase{64},
                    SizeCase{30, topology::Shape{.sockets = 3, .dies = 1, .cores = 5, .threads = 2}},
                    SizeCase{21, topology::Shape{.sockets = 1, .dies = 1, .cores = 7, .threads = 3}},
                    // 64 ids a socket, of which 33 are used: they reach 544.
                    SizeCase{33 * 9, topology::Shape{.sockets = 9, .dies = 1, .cores = 33, .threads = 1}}),
    name_of);

TEST_F(GoodMachine, EveryPolicyBoots) {
    for (const auto& policy : topology::all_policies()) {
        SCOPED_TRACE(to_string(policy));
        auto plan = plan_for(4, {}, policy);
        ASSERT_TRUE(plan) << plan.error().message();
        const auto machine = created(std::move(*plan));
        ASSERT_TRUE(machine);
        expect_alive(*machine);
    }
}

TEST_F(GoodMachine, MemoryOfTwoVirtualNodesIsOneBehindTheOther) {
    auto plan = plan_for(4);
    ASSERT_TRUE(plan) << plan.error().message();
    plan->nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = 16 * MiB, .reason = {}},
                   {.virtual_node = 1, .host_node = {}, .memory_bytes = 8 * MiB, .reason = {}}};
    for (auto& vcpu : plan->vcpus)
        vcpu.virtual_node = vcpu.vcpu / 2; // its block, and so its stack, is there
    const auto machine = created(std::move(*plan));
    ASSERT_TRUE(machine);
    EXPECT_EQ(machine->memory().regions().size(), 2U);
    expect_alive(*machine);
}

TEST_F(GoodMachine, AllVcpusMayShareOnePu) {
    auto plan = plan_for(4);
    ASSERT_TRUE(plan) << plan.error().message();
    const auto first = host().pus[topology::allowed_pus(host()).front()].os_index;
    for (auto& vcpu : plan->vcpus)
        vcpu.pus = {first};
    const auto machine = created(std::move(*plan));
    ASSERT_TRUE(machine);
    expect_alive(*machine);
}

TEST_F(GoodMachine, APuThatIsNotThereIsTheHostsLack) {
    const auto before = [&] {
        { const auto machine = created(*plan_for(2)); }
        return test::process_state();
    }();
    auto plan = plan_for(3);
    ASSERT_TRUE(plan);
    plan->vcpus[1].pus = {5000};
    const auto machine = create(payload, std::move(*plan));
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(machine.error().message(), HasSubstr("5000"));
    EXPECT_EQ(test::settled(before), before) << "the vCPUs that were made are gone";
}

TEST_F(GoodMachine, TwoAtOnceDoNotDisturbEachOther) {
    const auto first = created(*plan_for(3));
    const auto second = created(*plan_for(5));
    ASSERT_TRUE(first);
    ASSERT_TRUE(second);
    expect_alive(*first);
    expect_alive(*second);
    const auto ran = run(*first, "bringup.answer");
    EXPECT_TRUE(ran) << ran.error().message();
}

TEST_F(GoodMachine, LeavesNoThreadAndNoDescriptorBehind) {
    const auto once = [&] {
        const auto machine = created(*plan_for(8));
        ASSERT_TRUE(machine);
        expect_alive(*machine);
    };
    once(); // what a process opens once and keeps
    const auto before = test::process_state();
    {
        const auto machine = created(*plan_for(8));
        ASSERT_TRUE(machine);
        EXPECT_EQ(test::process_state().threads, before.threads + 8);
        EXPECT_GE(test::process_state().descriptors, before.descriptors + 8);
        expect_alive(*machine);
        const auto stopped = machine->stop();
        EXPECT_TRUE(stopped) << stopped.error().message();
        EXPECT_EQ(test::settled_threads(before.threads), before.threads);
        EXPECT_TRUE(machine->stop()) << "a second time is nothing";
    }
    EXPECT_EQ(test::settled(before), before);
}

TEST_F(GoodMachine, MayBeDestroyedBeforeItBoots) {
    { const auto machine = created(*plan_for(4)); }
    const auto before = test::process_state();
    {
        const auto machine = created(*plan_for(4));
        ASSERT_TRUE(machine);
        EXPECT_EQ(machine->progress(), 0.0);
    }
    EXPECT_EQ(test::settled(before), before);
}

TEST_F(GoodMachine, MayBeDestroyedInTheMiddleOfItsBoot) {
    { const auto machine = created(*plan_for(16)); }
    const auto before = test::process_state();
    {
        const auto machine = created(*plan_for(16));
        ASSERT_TRUE(machine);
        const auto booted = machine->boot(0ms);
        if (!booted) {
            EXPECT_EQ(booted.error().kind, ErrorKind::deadline);
            EXPECT_THAT(booted.error().asked, HasSubstr("16 vCPUs online"));
        }
    }
    EXPECT_EQ(test::settled(before), before);
}

TEST_F(GoodMachine, AJobOnSomeVcpusIsRunByThoseAlone) {
    const auto machine = created(*plan_for(4));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    const auto ran = machine->run_job({.name = "bringup.answer",
                                       .arguments = {},
                                       .first_vcpu = 1,
                                       .end_vcpu = 3,
                                       .deadline = test::patience});
    ASSERT_TRUE(ran) << ran.error().message();
    for (std::uint32_t vcpu = 0; vcpu < 4; ++vcpu)
        EXPECT_EQ(machine->mailbox(vcpu).jobs_done != 0, vcpu == 1 || vcpu == 2) << vcpu;
}

TEST_F(GoodMachine, SlowRoundsEndWithTheirPatienceAndNotBeforeTheFewest) {
    namespace job = stress::wire::exits;
    const auto machine = created(*plan_for(2));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    const auto done = [&](std::uint64_t least, std::uint64_t ticks) {
        const auto ran = machine->run_job({.name = "exits.cost",
                                           .arguments = {job::port_out, 300, 0, least, ticks},
                                           .first_vcpu = 1,
                                           .end_vcpu = 2,
                                           .deadline = test::patience});
        EXPECT_TRUE(ran) << ran.error().message();
        return machine->mailbox(1).job_value[job::done];
    };
    EXPECT_EQ(done(7, 0), 300U) << "no end to it";
    EXPECT_EQ(done(7, ~std::uint64_t{0}), 300U) << "more than it takes";
    EXPECT_EQ(done(7, 1), 7U) << "none at all";
    EXPECT_EQ(done(300, 1), 300U);
    const auto some = done(2, 20 * machine->tsc_khz() / 1000); // 20 us, of some us each
    EXPECT_GE(some, 2U);
    EXPECT_LT(some, 300U);
}

TEST_F(GoodMachine, AnInterruptThatNobodyExpectsIsCountedWithItsVector) {
    const auto machine = created(*plan_for(2));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    constexpr std::uint8_t vector = 0x90; // taken before the one that wakes for the job: it is higher
    ASSERT_TRUE(machine->signal_msi(1, vector));
    ASSERT_TRUE(run(*machine, "bringup.answer"));
    EXPECT_EQ(machine->mailbox(1).spurious_interrupts, 1U);
    EXPECT_EQ(machine->mailbox(1).last_spurious_vector, vector);
    EXPECT_EQ(machine->mailbox(0).spurious_interrupts, 0U);
}

TEST_F(GoodMachine, AnUnknownJobIsBadInputAndHarmsNothing) {
    const auto machine = created(*plan_for(2));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    const auto ran = run(*machine, "no.such");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(ran.error().found, HasSubstr("no.such"));
    EXPECT_TRUE(run(*machine, "bringup.answer"));
}

TEST_F(GoodMachine, AJobOnVcpusThatAreNotThereIsBadInputAndHarmsNothing) {
    const auto machine = created(*plan_for(2));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    for (const auto& [first, end] :
         {std::pair{0U, 3U}, std::pair{2U, 3U}, std::pair{1U, 1U}, std::pair{2U, 1U}}) {
        const auto ran = machine->run_job({.name = "bringup.answer",
                                           .arguments = {},
                                           .first_vcpu = first,
                                           .end_vcpu = end,
                                           .deadline = test::patience});
        ASSERT_FALSE(ran) << first << " to " << end;
        EXPECT_EQ(ran.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(ran.error().found, HasSubstr("the machine has 2"));
    }
    EXPECT_TRUE(run(*machine, "bringup.answer"));
}

TEST_F(GoodMachine, CancelledByASignalItEndsAtOnce) {
    const auto machine = created(*plan_for(2));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    supervisor().cancel(SIGTERM);
    const auto ran = run(*machine, "bringup.answer");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::cancelled);
}

TEST_F(GoodMachine, TooLittleMemoryIsBadInput) {
    auto plan = plan_for(4);
    ASSERT_TRUE(plan);
    plan->nodes.resize(1);
    plan->nodes[0].memory_bytes = MiB;
    for (auto& vcpu : plan->vcpus)
        vcpu.virtual_node = 0;
    const auto machine = create(payload, std::move(*plan));
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(machine.error().remedy, HasSubstr("--memory"));
}

TEST_F(GoodMachine, MoreVcpusThanKvmAllowsAreTheHostsLack) {
    const auto most = static_cast<std::uint32_t>(kvm().check_extension(KVM_CAP_MAX_VCPUS));
    auto plan = plan_for(most + 1);
    ASSERT_TRUE(plan) << plan.error().message();
    const auto machine = create(payload, std::move(*plan));
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(machine.error().found, HasSubstr(fmt::format("allows {}", most)));
    EXPECT_THAT(machine.error().remedy, HasSubstr(fmt::format("--vcpus {}", most)));
}

TEST_F(GoodMachine, StatisticsAreThoseOfEachVcpu) {
    if (kvm().check_extension(KVM_CAP_BINARY_STATS_FD) == 0)
        GTEST_SKIP() << "this KVM has no binary statistics (KVM_CAP_BINARY_STATS_FD)";
    const auto machine = created(*plan_for(3));
    ASSERT_TRUE(machine);
    expect_alive(*machine);
    for (int i = 0; i < 20; ++i) // vCPU 0 has more to tell than the others
        ASSERT_TRUE(machine->run_job({.name = "bringup.answer",
                                      .arguments = {},
                                      .first_vcpu = 0,
                                      .end_vcpu = 1,
                                      .deadline = test::patience}));
    ASSERT_TRUE(machine->stop());
    const auto statistics = machine->chassis().statistics();
    EXPECT_FALSE(statistics.vm_entries.empty());
    EXPECT_FALSE(statistics.vm.empty());
    const auto exits = std::ranges::find(statistics.entries, "exits", &kvm::StatisticDescription::name);
    ASSERT_NE(exits, statistics.entries.end());
    ASSERT_EQ(statistics.vcpus.size(), 3U);
    for (const auto& values : statistics.vcpus)
        EXPECT_GT(kvm::value_of(*exits, values), 0U);
    EXPECT_NE(statistics.vcpus[0], statistics.vcpus[2]);
}

TEST_F(GoodMachine, PhasesAreTimed) {
    const auto machine = created(*plan_for(1));
    ASSERT_TRUE(machine);
    ASSERT_TRUE(machine->boot(test::patience));
    std::vector<std::string> phases;
    for (const auto& phase : machine->chassis().phase_times()) {
        phases.push_back(phase.phase);
        EXPECT_GE(phase.seconds, 0);
    }
    EXPECT_THAT(phases, testing::ElementsAre("vm", "memory", "payload", "vcpus", "boot"));
}

} // namespace
} // namespace nestbed::machine
