// The one error type: what was asked, what was found, what to do about it.
#pragma once

#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace nestbed {

// Decides the exit code of the program; see exit_code().
enum class ErrorKind {
    check_failed, // the thing under test is wrong
    bad_input,    // the user asked for something that cannot mean anything
    host_lacks,   // the request is sound, this host cannot serve it
    cancelled,    // SIGINT or SIGTERM
    deadline,     // something did not answer in time
};

struct Error {
    ErrorKind kind = ErrorKind::check_failed;
    std::string asked;  // "create vCPU 1024 (KVM_CREATE_VCPU)"
    std::string found;  // "Invalid argument: this KVM allows 1024 vCPUs"
    std::string remedy; // "use --vcpus 1024 or less"; empty where there is nothing to do

    // One line, "asked: found; remedy".
    [[nodiscard]] std::string message() const;
};

template<typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] tl::unexpected<Error> fail(ErrorKind kind, std::string asked, std::string found,
                                         std::string remedy = {});

// fail() with `found` taken from errno, which must not have been disturbed since the failing call.
[[nodiscard]] tl::unexpected<Error> fail_errno(ErrorKind kind, std::string asked, std::string remedy = {});

// strerror() without its shared buffer: "Invalid argument (EINVAL)".
[[nodiscard]] std::string errno_text(int number);

[[nodiscard]] std::string_view to_string(ErrorKind kind);

// 1 a check failed or a deadline passed, 2 bad usage or input, 3 the host lacks what was asked,
// 130 cancelled (the shell's convention for SIGINT).
[[nodiscard]] int exit_code(ErrorKind kind);

} // namespace nestbed
