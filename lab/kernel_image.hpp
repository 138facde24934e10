// A bzImage, as the kernel's Documentation/arch/x86/boot.rst describes it, and the vmlinux that it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/error.hpp"

namespace nestbed::lab {

inline constexpr std::size_t kernel_header_bytes = 64 * 1024; // all that kernel_release() looks at

// The kernel's release, "6.1.0-56-amd64", from the first bytes of a bzImage. Errors: bad_input where they are
// none.
[[nodiscard]] Result<std::string> kernel_release(std::span<const std::byte> image);

// The compressed vmlinux in a whole bzImage; a view into it. Errors: bad_input where there is none (boot
// protocol before 2.08, or a length past the end).
[[nodiscard]] Result<std::span<const std::byte>> compressed_vmlinux(std::span<const std::byte> image);

// The address at which an emulator can start this vmlinux at once, without BIOS calls and decompression: that
// in the Xen note PHYS32_ENTRY (CONFIG_PVH; xen/include/public/elfnote.h). Nothing where there is none.
[[nodiscard]] std::optional<std::uint64_t> pvh_entry(std::span<const std::byte> vmlinux);

} // namespace nestbed::lab
