#include "tests/support/fake_ioctl.hpp"

#include <cerrno>
#include <cstdarg>
#include <utility>

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace nestbed::test {

namespace {

FakeIoctl::Answer current; // empty: the kernel answers

} // namespace

FakeIoctl::FakeIoctl(Answer answer) {
    current = std::move(answer);
}

FakeIoctl::~FakeIoctl() {
    current = nullptr;
}

} // namespace nestbed::test

// The program's own definition comes before the C library's.
// NOLINTNEXTLINE(cert-dcl50-cpp): the C library's prototype.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
    using namespace nestbed::test;
    std::va_list list;
    va_start(list, request);
    const auto argument = va_arg(list, unsigned long);
    va_end(list);
    const int answer = current ? current(fd, request, argument) : FakeIoctl::pass_on;
    if (answer == FakeIoctl::pass_on)
        return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
    if (answer >= 0)
        return answer;
    errno = -answer;
    return -1;
}
