#include "base/error.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

namespace nestbed {

std::string Error::message() const {
    auto text = asked;
    if (!found.empty())
        text += (text.empty() ? "" : ": ") + found;
    if (!remedy.empty())
        text += "; " + remedy;
    return text;
}

tl::unexpected<Error> fail(ErrorKind kind, std::string asked, std::string found, std::string remedy) {
    return tl::unexpected<Error>{Error{kind, std::move(asked), std::move(found), std::move(remedy)}};
}

tl::unexpected<Error> fail_errno(ErrorKind kind, std::string asked, std::string remedy) {
    const int number = errno;
    return fail(kind, std::move(asked), errno_text(number), std::move(remedy));
}

std::string errno_text(int number) {
    const char* description = ::strerrordesc_np(number);
    const char* name = ::strerrorname_np(number);
    if (description == nullptr || name == nullptr)
        return "errno " + std::to_string(number);
    return std::string{description} + " (" + name + ")";
}

std::string_view to_string(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::check_failed:
        return "check_failed";
    case ErrorKind::bad_input:
        return "bad_input";
    case ErrorKind::host_lacks:
        return "host_lacks";
    case ErrorKind::cancelled:
        return "cancelled";
    case ErrorKind::deadline:
        return "deadline";
    }
    return "unknown";
}

int exit_code(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::check_failed:
    case ErrorKind::deadline:
        return 1;
    case ErrorKind::bad_input:
        return 2;
    case ErrorKind::host_lacks:
        return 3;
    case ErrorKind::cancelled:
        return 130;
    }
    return 1;
}

} // namespace nestbed
