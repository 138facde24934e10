// The drivers that stress KVM's other interfaces, each for a moment on this host's KVM.
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/boot/placement.hpp"
#include "core/supervise/supervisor.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/setup.hpp"

namespace nestbed::stress {
namespace {

using namespace std::chrono_literals;

struct Case {
    const char* driver;
    std::uint32_t vcpus;
};

// For the test's name.
void PrintTo(const Case& run, std::ostream* out) {
    *out << run.driver << ", " << run.vcpus << " vCPUs";
}

class KvmDrivers : public testing::TestWithParam<Case> {};

TEST_P(KvmDrivers, HoldTheirInvariant) {
    const auto [name, vcpus] = GetParam();
    const auto chosen = select_drivers({name});
    ASSERT_TRUE(chosen) << chosen.error().message();
    const auto& driver = *chosen->front();
    MachineRequest request;
    request.vcpus = vcpus;
    if (driver.more_memory != nullptr)
        request.memory_bytes = boot::default_memory_bytes(vcpus) + driver.more_memory(vcpus);
    auto seen = look_at_host();
    if (!seen.kvm)
        GTEST_SKIP() << "needs a KVM that can be used: " << seen.kvm.error().message();
    auto setup = set_up(request, std::move(seen));
    ASSERT_TRUE(setup) << setup.error().message();
    auto supervisor = supervise::Supervisor::create();
    ASSERT_TRUE(supervisor) << supervisor.error().message();
    machine::MachinePtr machine;
    if (driver.machines == Machines::given) {
        auto made = create_machine(*setup, **supervisor);
        ASSERT_TRUE(made) << made.error().message();
        machine = std::move(*made);
        const auto up = machine->boot(60s);
        ASSERT_TRUE(up) << up.error().message();
    }
    const auto counted = driver.run({*setup, **supervisor, machine.get(), 7, 200ms, 60s, {}});
    ASSERT_TRUE(counted) << counted.error().message();
    if (counted->verdict == report::Verdict::skipped)
        GTEST_SKIP() << counted->reason;
    EXPECT_EQ(counted->verdict, report::Verdict::pass)
        << counted->summary << testing::PrintToString(counted->details);
    EXPECT_GT(counted->operations, 0);
    EXPECT_GT(counted->seconds, 0);
}

INSTANTIATE_TEST_SUITE_P(Each, KvmDrivers,
                         testing::Values(Case{"tlb", 1}, Case{"tlb", 2}, Case{"tlb", 8},
                                         Case{"dirty.ring", 1}, Case{"dirty.ring", 8}, Case{"dirty.log", 1},
                                         Case{"dirty.log", 8}, Case{"irqfd", 1}, Case{"irqfd", 8},
                                         Case{"irqfd.direct", 1}, Case{"irqfd.direct", 8}, Case{"churn", 1},
                                         Case{"churn", 4}));

} // namespace
} // namespace nestbed::stress
