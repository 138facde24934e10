// Images of the Multiboot Specification, version 0.6.96, such as those of kvm-unit-tests: ELF32, or ELF64
// entered in 32-bit mode all the same, or anything else with the address fields in its header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.hpp"
#include "core/boot/foreign_image.hpp"

namespace nestbed::boot {

// 3.1 "OS image format".
struct MultibootHeader {
    std::uint32_t magic = 0x1bad'b002;
    std::uint32_t flags = 0;
    std::uint32_t checksum = 0; // all three come to zero
    // With bit 16 of flags; physical addresses.
    std::uint32_t header_address = 0;
    std::uint32_t load_address = 0;
    std::uint32_t load_end = 0; // 0: the end of the file
    std::uint32_t bss_end = 0;  // 0: no bss
    std::uint32_t entry = 0;
};
static_assert(sizeof(MultibootHeader) == 32);

struct FoundMultibootHeader {
    std::size_t offset = 0; // in the image
    MultibootHeader header; // without the address fields where the image ends before them
};

// In the first 8192 bytes, at a multiple of 4.
[[nodiscard]] std::optional<FoundMultibootHeader> find_multiboot_header(std::span<const std::byte> image);

// load_foreign() for an image with such a header. The multiboot information, the command line and, where it
// is small enough, the module lie below 640 KiB and above the first page.
[[nodiscard]] Result<ForeignBoot> load_multiboot(const ForeignInput& input);

} // namespace nestbed::boot
