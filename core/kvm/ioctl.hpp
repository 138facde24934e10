// ioctl() whose failure says which request, on what, and why.
#pragma once

#include <string_view>

#include "base/error.hpp"

namespace nestbed::kvm {

// Retries EINTR. `name` is the request as the kernel spells it ("KVM_CREATE_VCPU"), `argument` what it was
// given in words, `remedy` what the user can do. Errors: host_lacks with errno.
[[nodiscard]] Result<int> call(int fd, unsigned long request, std::string_view name, unsigned long argument,
                               std::string_view argument_text = {}, std::string_view remedy = {});

template<typename T>
[[nodiscard]] Result<int> call(int fd, unsigned long request, std::string_view name, T* argument,
                               std::string_view argument_text = {}, std::string_view remedy = {}) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): ioctl() takes a pointer or a number.
    return call(fd, request, name, reinterpret_cast<unsigned long>(argument), argument_text, remedy);
}

} // namespace nestbed::kvm
