// Linux by its 64-bit boot protocol (Documentation/arch/x86/boot.rst): no real-mode code runs, and the kernel
// decompresses itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "core/boot/foreign_image.hpp"

namespace nestbed::boot {

// "HdrS" at 0x202, "The Real-Mode Kernel Header".
[[nodiscard]] bool is_bzimage(std::span<const std::byte> image);

// load_foreign() for a bzImage.
[[nodiscard]] Result<ForeignBoot> load_linux64(const ForeignInput& input);

} // namespace nestbed::boot
