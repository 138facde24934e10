#include "core/kvm/ioctl.hpp"

#include <cerrno>

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"
#include "tests/support/fake_ioctl.hpp"

namespace nestbed::kvm {
namespace {

TEST(Ioctl, FailureNamesTheRequestItsArgumentAndTheReason) {
    const auto answer = call(-1, KVM_CREATE_VCPU, "KVM_CREATE_VCPU", 7UL, "APIC id 7", "fewer vCPUs");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(answer.error().message(),
              "KVM_CREATE_VCPU(APIC id 7): Bad file descriptor (EBADF); fewer vCPUs");
}

TEST(Ioctl, NoArgumentTextNoParentheses) {
    const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    const auto answer = call(null.get(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0UL);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().message(), "KVM_GET_VCPU_MMAP_SIZE: Inappropriate ioctl for device (ENOTTY)");
}

TEST(Ioctl, SuccessFillsTheArgument) {
    int ends[2] = {-1, -1};
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const Fd reader{ends[0]};
    const Fd writer{ends[1]};
    ASSERT_EQ(::write(writer.get(), "abc", 3), 3);
    int waiting = 0;
    const auto answer = call(reader.get(), FIONREAD, "FIONREAD", &waiting);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(*answer, 0);
    EXPECT_EQ(waiting, 3);
}

TEST(Ioctl, AnInterruptedCallIsMadeAgain) {
    int calls = 0;
    const test::FakeIoctl fake{[&](int, unsigned long, unsigned long) { return ++calls < 4 ? -EINTR : 42; }};
    const auto answer = call(0, KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0UL);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(*answer, 42);
    EXPECT_EQ(calls, 4);
}

} // namespace
} // namespace nestbed::kvm
