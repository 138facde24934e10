#include "core/kvm/ioctl.hpp"

#include <cerrno>

#include <sys/ioctl.h>

#include <fmt/format.h>

namespace nestbed::kvm {

Result<int> call(int fd, unsigned long request, std::string_view name, unsigned long argument,
                 std::string_view argument_text, std::string_view remedy) {
    for (;;) {
        const int answer = ::ioctl(fd, request, argument);
        if (answer >= 0)
            return answer;
        if (errno != EINTR)
            break;
    }
    const int number = errno;
    return fail(ErrorKind::host_lacks,
                argument_text.empty() ? std::string{name} : fmt::format("{}({})", name, argument_text),
                errno_text(number), std::string{remedy});
}

} // namespace nestbed::kvm
