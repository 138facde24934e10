// Answers ioctl() in the kernel's place, so that what is passed to KVM, and what is made of its answers, can
// be tested without one.
#pragma once

#include <functional>

namespace nestbed::test {

// While it lives, every ioctl() of this program that it does not pass on is answered by it, on any thread.
// One at a time.
class FakeIoctl {
public:
    // What ioctl() is to return; -errno for a failure; `pass_on` to leave it to the kernel. `argument` is
    // what the caller passed, a pointer or a number.
    using Answer = std::function<int(int fd, unsigned long request, unsigned long argument)>;
    static constexpr int pass_on = -1'000'000;

    explicit FakeIoctl(Answer answer);
    FakeIoctl(const FakeIoctl&) = delete;
    FakeIoctl& operator=(const FakeIoctl&) = delete;
    FakeIoctl(FakeIoctl&&) = delete;
    FakeIoctl& operator=(FakeIoctl&&) = delete;
    ~FakeIoctl();
};

// The structure that a caller passed.
template<typename T>
T& passed(unsigned long argument) {
    return *reinterpret_cast<T*>(argument);
}

} // namespace nestbed::test
