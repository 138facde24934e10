#include "stress/setup.hpp"

#include <utility>

#include <gtest/gtest.h>

#include "core/boot/placement.hpp"

namespace nestbed::stress {
namespace {

constexpr std::uint32_t kvm_allows = 1024;

TEST(PlanRequest, ChoosesWhatWasNotAskedFor) {
    const auto planned = plan_request({}, kvm_allows);
    EXPECT_EQ(planned.vcpus, default_vcpus);
    EXPECT_EQ(planned.memory_bytes, boot::default_memory_bytes(default_vcpus));
    EXPECT_EQ(planned.policy, topology::Policy::numa);
    EXPECT_EQ(planned.page_size, topology::PageSize::base);
    EXPECT_EQ(planned.shape, std::nullopt);
}

TEST(PlanRequest, ChoosesNoMoreVcpusThanKvmAllows) {
    const auto planned = plan_request({}, 8);
    EXPECT_EQ(planned.vcpus, 8U);
    EXPECT_EQ(planned.memory_bytes, boot::default_memory_bytes(8));
}

TEST(PlanRequest, KeepsWhatWasAskedFor) {
    MachineRequest asked;
    asked.vcpus = 2000; // more than KVM allows: to be refused, not to be mended
    asked.memory_bytes = 12345;
    asked.policy = topology::Policy::scatter;
    asked.page_size = topology::PageSize::huge_2m;
    asked.shape = topology::Shape{.sockets = 2, .dies = 1, .cores = 500, .threads = 2};
    const auto planned = plan_request(asked, kvm_allows);
    EXPECT_EQ(planned.vcpus, 2000U);
    EXPECT_EQ(planned.memory_bytes, 12345U);
    EXPECT_EQ(planned.policy, topology::Policy::scatter);
    EXPECT_EQ(planned.page_size, topology::PageSize::huge_2m);
    EXPECT_EQ(planned.shape, asked.shape);
}

TEST(PlanRequest, TakesTheVcpusOfTheShapeOrAllThereAre) {
    MachineRequest asked;
    asked.shape = topology::Shape{.sockets = 2, .dies = 3, .cores = 5, .threads = 2};
    EXPECT_EQ(plan_request(asked, kvm_allows).vcpus, 60U);
    asked.all_vcpus = true;
    EXPECT_EQ(plan_request(asked, kvm_allows).vcpus, kvm_allows);
}

TEST(SetUp, NamesWhatCouldNotBeSeen) {
    HostSeen no_host{.host = fail(ErrorKind::host_lacks, "read the topology", "nothing there"),
                     .kvm = fail(ErrorKind::host_lacks, "open /dev/kvm", "nothing there")};
    EXPECT_EQ(set_up({}, std::move(no_host)).error().asked, "read the topology");
    HostSeen no_kvm{.host = topology::discover("numa:1(memory=64GB) core:2 pu:1"),
                    .kvm = fail(ErrorKind::host_lacks, "open /dev/kvm", "nothing there")};
    EXPECT_EQ(set_up({}, std::move(no_kvm)).error().asked, "open /dev/kvm");
}

} // namespace
} // namespace nestbed::stress
