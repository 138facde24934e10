// PVH, Xen's direct boot of HVM guests: what a kernel finds at the address in EBX (docs/misc/pvh.pandoc and
// xen/include/public/arch-x86/hvm/start_info.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.hpp"
#include "core/boot/foreign_image.hpp"

namespace nestbed::boot {

struct HvmStartInfo {
    std::uint32_t magic = 0x336ec578;
    std::uint32_t version = 1;
    std::uint32_t flags = 0;
    std::uint32_t modules = 0;
    std::uint64_t module_list = 0;  // guest-physical, as are all addresses; 0: none
    std::uint64_t command_line = 0; // NUL-terminated
    std::uint64_t rsdp = 0;
    std::uint64_t memory_map = 0;
    std::uint32_t memory_ranges = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(HvmStartInfo) == 56);

struct HvmModule { // hvm_modlist_entry
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint64_t command_line = 0;
    std::uint64_t reserved = 0;
};
static_assert(sizeof(HvmModule) == 32);

struct HvmMemoryRange { // hvm_memmap_table_entry
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t type = 1; // E820Type
    std::uint32_t reserved = 0;
};
static_assert(sizeof(HvmMemoryRange) == 24);

// The address at which a vmlinux can be started at once, without BIOS calls and decompression: that in the
// Xen note PHYS32_ENTRY (CONFIG_PVH; xen/include/public/elfnote.h). Nothing where there is none.
[[nodiscard]] std::optional<std::uint64_t> pvh_entry(std::span<const std::byte> vmlinux);

// load_foreign() for an ELF image with that note, or for a bzImage that holds one.
[[nodiscard]] Result<ForeignBoot> load_pvh(const ForeignInput& input);

} // namespace nestbed::boot
