// The header of a bzImage, as the kernel's Documentation/arch/x86/boot.rst describes it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.hpp"

namespace nestbed::lab {

inline constexpr std::size_t kernel_header_bytes = 64 * 1024; // all that kernel_release() looks at

// The kernel's release, "6.1.0-56-amd64", from the first bytes of a bzImage. Errors: bad_input where they are
// none.
[[nodiscard]] Result<std::string> kernel_release(std::span<const std::byte> image);

} // namespace nestbed::lab
