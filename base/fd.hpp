// A file descriptor that is closed exactly once.
#pragma once

#include <utility>

namespace nestbed {

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) noexcept : _fd{fd} {}
    Fd(Fd&& other) noexcept : _fd{std::exchange(other._fd, -1)} {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(_fd, other._fd);
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd();

    [[nodiscard]] int get() const noexcept { return _fd; }
    explicit operator bool() const noexcept { return _fd >= 0; }

private:
    int _fd = -1;
};

} // namespace nestbed
