#include "core/kvm/kvm.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/abi.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::kvm {
namespace {

using test::FakeIoctl;
using test::passed;
using testing::ElementsAre;
using testing::HasSubstr;

// Opened with a kernel that says nothing but its version.
Kvm opened() {
    const FakeIoctl fake{[](int, unsigned long request, unsigned long) {
        return request == KVM_GET_API_VERSION ? KVM_API_VERSION : -ENOTTY;
    }};
    return std::move(*Kvm::open("/dev/null"));
}

TEST(Kvm, AnotherApiVersionIsRefused) {
    for (const int version : {0, 11, 13}) {
        const FakeIoctl fake{[&](int, unsigned long, unsigned long) { return version; }};
        const auto kvm = Kvm::open("/dev/null");
        ASSERT_FALSE(kvm);
        EXPECT_EQ(kvm.error().kind, ErrorKind::host_lacks);
        EXPECT_THAT(kvm.error().found, HasSubstr("this program speaks 12"));
    }
}

TEST(Kvm, AnExtensionThatTheKernelDoesNotKnowIsAbsent) {
    const auto kvm = opened();
    unsigned long asked = 0;
    int answer = 1024;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        asked = argument;
        return request == KVM_CHECK_EXTENSION ? answer : -ENOTTY;
    }};
    EXPECT_EQ(kvm.check_extension(KVM_CAP_MAX_VCPUS), 1024);
    EXPECT_EQ(asked, static_cast<unsigned long>(KVM_CAP_MAX_VCPUS));
    answer = -EINVAL;
    EXPECT_EQ(kvm.check_extension(KVM_CAP_MAX_VCPUS), 0);
}

TEST(Kvm, SupportedCpuidIsAskedForUntilItFits) {
    const auto kvm = opened();
    std::vector<std::uint32_t> rooms;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        if (request != abi::get_supported_cpuid)
            return -ENOTTY;
        auto& header = passed<abi::CpuidHeader>(argument);
        rooms.push_back(header.count);
        if (header.count < 300)
            return -E2BIG;
        header.count = 300;
        kvm_cpuid_entry2 last{};
        last.function = 0x8000'0026;
        std::memcpy(reinterpret_cast<std::byte*>(argument) + sizeof header + 299 * sizeof last, &last,
                    sizeof last);
        return 0;
    }};
    const auto entries = kvm.supported_cpuid();
    ASSERT_TRUE(entries) << entries.error().message();
    EXPECT_THAT(rooms, ElementsAre(128, 256, 512));
    ASSERT_EQ(entries->size(), 300U);
    EXPECT_EQ(entries->back().function, 0x8000'0026U);
}

TEST(Kvm, SupportedCpuidIsNotAskedForForEver) {
    const auto kvm = opened();
    for (const int error : {E2BIG, EFAULT}) {
        int calls = 0;
        const FakeIoctl fake{[&](int, unsigned long, unsigned long) {
            ++calls;
            return -error;
        }};
        const auto entries = kvm.supported_cpuid();
        ASSERT_FALSE(entries);
        EXPECT_EQ(entries.error().kind, ErrorKind::host_lacks);
        EXPECT_EQ(calls, error == E2BIG ? 6 : 1) << "128 to 4096, or once where room is not what lacks";
    }
}

TEST(Kvm, FeatureMsrThatIsNotOfferedIsNoZero) {
    const auto kvm = opened();
    int answer = 1;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long argument) {
        auto& entry = passed<kvm_msr_entry>(argument + sizeof(abi::MsrsHeader));
        if (request != abi::get_msrs || passed<abi::MsrsHeader>(argument).count != 1 || entry.index != 0x480)
            return -ENOTTY;
        entry.data = 0xda'0400'0000'0004;
        return answer;
    }};
    EXPECT_EQ(kvm.feature_msr(0x480), 0xda'0400'0000'0004U);
    answer = 0; // how many were read
    const auto refused = kvm.feature_msr(0x480);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("KVM_GET_MSRS(feature MSR 0x480): not offered"));
}

TEST(Kvm, AMappingThatCannotHoldARunStructureIsRefused) {
    const auto kvm = opened();
    int size = sizeof(kvm_run);
    bool created = false;
    const FakeIoctl fake{[&](int, unsigned long request, unsigned long) {
        if (request == KVM_GET_VCPU_MMAP_SIZE)
            return size;
        created = true;
        return ::open("/dev/null", O_RDWR | O_CLOEXEC);
    }};
    EXPECT_EQ(kvm.vcpu_mmap_size(), sizeof(kvm_run));
    EXPECT_TRUE(kvm.create_vm());
    created = false;
    for (const int less : {static_cast<int>(sizeof(kvm_run)) - 1, 0}) {
        size = less;
        EXPECT_FALSE(kvm.vcpu_mmap_size());
        const auto vm = kvm.create_vm();
        ASSERT_FALSE(vm);
        EXPECT_EQ(vm.error().kind, ErrorKind::host_lacks);
        EXPECT_THAT(vm.error().found, HasSubstr("less than struct kvm_run"));
        EXPECT_FALSE(created);
    }
}

} // namespace
} // namespace nestbed::kvm
