#include "core/machine/vm_setup.hpp"

#include <cerrno>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/kvm.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/boot/ram.hpp"
#include "core/kvm/abi.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::machine {
namespace {

using test::FakeIoctl;
using test::passed;
using testing::HasSubstr;

// A kernel that has everything, until a test takes something away.
class VmSetup : public testing::Test {
protected:
    int answer(unsigned long request, unsigned long argument) {
        switch (request) {
        case KVM_GET_API_VERSION:
            return KVM_API_VERSION;
        case KVM_GET_VCPU_MMAP_SIZE:
            return 4 * 4096;
        case KVM_CREATE_VM:
            return ::open("/dev/null", O_RDWR | O_CLOEXEC);
        case KVM_CHECK_EXTENSION:
            return extensions.contains(argument) ? extensions[argument] : 1;
        case KVM_ENABLE_CAP: {
            const auto& cap = passed<kvm_enable_cap>(argument);
            enabled[cap.cap] = cap.args[0];
            return refused == cap.cap ? -EINVAL : 0;
        }
        case KVM_SET_TSS_ADDR:
            tss = argument;
            return 0;
        case KVM_SET_IDENTITY_MAP_ADDR:
            identity_map = passed<std::uint64_t>(argument);
            return 0;
        default:
            return -ENOTTY;
        }
    }

    static topology::Plan plan_of(std::uint32_t vcpus, const topology::Shape& shape) {
        topology::Plan plan;
        plan.vcpus.resize(vcpus);
        plan.shape = shape;
        return plan;
    }
    Status check(std::uint32_t vcpus, const topology::Shape& shape) {
        return check_kvm_limits(kvm, plan_of(vcpus, shape));
    }

    std::map<unsigned long, int> extensions{{KVM_CAP_MAX_VCPUS, 1024}, {KVM_CAP_MAX_VCPU_ID, 4096}};
    std::map<std::uint32_t, std::uint64_t> enabled;
    std::uint32_t refused = 0;
    std::uint64_t tss = 0;
    std::uint64_t identity_map = 0;
    FakeIoctl fake{
        [this](int, unsigned long request, unsigned long argument) { return answer(request, argument); }};
    kvm::Kvm kvm = std::move(*kvm::Kvm::open("/dev/null"));
};

constexpr topology::Shape flat(std::uint32_t vcpus) {
    return {.sockets = 1, .dies = 1, .cores = vcpus, .threads = 1};
}

TEST_F(VmSetup, AsManyVcpusAsKvmAllowsAndNoMore) {
    EXPECT_TRUE(check(1024, flat(1024)));
    const auto more = check(1025, flat(1024));
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(more.error().found, HasSubstr("allows 1024"));
    EXPECT_THAT(more.error().remedy, HasSubstr("--vcpus 1024"));
}

TEST_F(VmSetup, ApicIdsEndBelowKvmsLimit) {
    // 33 cores take 64 ids of a socket: the largest id of two sockets is 96.
    const topology::Shape shape{.sockets = 2, .dies = 1, .cores = 33, .threads = 1};
    extensions[KVM_CAP_MAX_VCPU_ID] = 97;
    EXPECT_TRUE(check(66, shape));
    extensions[KVM_CAP_MAX_VCPU_ID] = 96;
    const auto beyond = check(66, shape);
    ASSERT_FALSE(beyond);
    EXPECT_EQ(beyond.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(beyond.error().found, HasSubstr("reach 96, this KVM allows ids below 96"));
    EXPECT_THAT(beyond.error().remedy, HasSubstr("--topology"));
    extensions[KVM_CAP_MAX_VCPU_ID] = 0; // a kernel that does not say
    EXPECT_TRUE(check(66, shape));
}

TEST_F(VmSetup, WhatEveryMachineNeedsIsNamedWhereItLacks) {
    for (const auto& [number, name] : {std::pair{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
                                       std::pair{KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API"},
                                       std::pair{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
                                       std::pair{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
                                       std::pair{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"}}) {
        extensions[static_cast<unsigned long>(number)] = 0;
        const auto lacks = check(1, flat(1));
        ASSERT_FALSE(lacks) << name;
        EXPECT_EQ(lacks.error().kind, ErrorKind::host_lacks);
        EXPECT_THAT(lacks.error().found, HasSubstr(name));
        EXPECT_THAT(lacks.error().remedy, HasSubstr("use Linux"));
        extensions.erase(static_cast<unsigned long>(number));
    }
}

TEST_F(VmSetup, AVmGetsIdsOfItsSizeAnd32BitDestinations) {
    const auto vm = kvm.create_vm();
    ASSERT_TRUE(vm);
    const auto set = configure_vm(*vm, 543);
    ASSERT_TRUE(set) << set.error().message();
    EXPECT_EQ(enabled[KVM_CAP_MAX_VCPU_ID], 544U) << "one past the largest";
    EXPECT_EQ(enabled[KVM_CAP_SPLIT_IRQCHIP], 48U) << "I/O APIC pins: a PC's interrupts and devices";
    EXPECT_EQ(enabled[KVM_CAP_X2APIC_API],
              std::uint64_t{KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK});
    for (const auto& [address, pages] : {std::pair{tss, 3U}, std::pair{identity_map, 1U}}) {
        EXPECT_EQ(address % 4096, 0U);
        EXPECT_GE(address, boot::hole_start);
        EXPECT_LE(address + pages * 4096U, boot::hole_end) << "outside RAM";
    }
    EXPECT_TRUE(identity_map + 4096 <= tss || tss + std::uint64_t{3} * 4096 <= identity_map);
}

TEST_F(VmSetup, OnlyTheSizeOfTheIdsMayBeRefused) {
    const auto vm = kvm.create_vm();
    ASSERT_TRUE(vm);
    refused = KVM_CAP_MAX_VCPU_ID; // Linux before 6.0
    EXPECT_TRUE(configure_vm(*vm, 3));
    for (const auto cap : {KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API}) {
        refused = static_cast<std::uint32_t>(cap);
        EXPECT_FALSE(configure_vm(*vm, 3)) << cap;
    }
}

TEST(CapabilitiesWithout, LeavesWhatIsOfferedAndNotHidden) {
    const FakeIoctl fake{[](int, unsigned long request, unsigned long argument) -> int {
        if (request == KVM_GET_API_VERSION)
            return KVM_API_VERSION;
        if (request != kvm::abi::get_msrs)
            return -ENOTTY;
        auto& entry = passed<kvm_msr_entry>(argument + sizeof(kvm::abi::MsrsHeader));
        entry.data = 0x0000'00ff'0000'0016;
        return entry.index == 0x492 ? 0 : 1; // that one it has not
    }};
    const auto kvm = kvm::Kvm::open("/dev/null");
    ASSERT_TRUE(kvm);
    using core::cpu::MsrValue;
    EXPECT_THAT(capabilities_without(
                    *kvm, {{0x48d, std::uint64_t{1} << 38}, {0x492, 1}, {0x48b, std::uint64_t{1} << 63}}),
                testing::ElementsAre(MsrValue{0x48d, 0x0000'00bf'0000'0016}))
        << "0x492 is not offered, and of 0x48b the bit is not";
    EXPECT_TRUE(capabilities_without(*kvm, {}).empty());
}

} // namespace
} // namespace nestbed::machine
