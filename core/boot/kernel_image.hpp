// A bzImage, as the kernel's Documentation/arch/x86/boot.rst describes it, and the vmlinux that it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/error.hpp"

namespace nestbed::boot {

inline constexpr std::size_t kernel_header_bytes =
    std::size_t{64} * 1024; // all that kernel_release() looks at

// The kernel's release, "6.1.0-56-amd64", from the first bytes of a bzImage. Errors: bad_input where they are
// none.
[[nodiscard]] Result<std::string> kernel_release(std::span<const std::byte> image);

// The compressed vmlinux in a whole bzImage; a view into it. Errors: bad_input where there is none (boot
// protocol before 2.08, or a length past the end).
[[nodiscard]] Result<std::span<const std::byte>> compressed_vmlinux(std::span<const std::byte> image);

} // namespace nestbed::boot
