// Guests that nobody here wrote: a Linux kernel, a PVH kernel or a multiboot image becomes all that it finds
// in memory when it starts and the state that its first vCPU starts in, as a value. Images and files are
// anybody's: every offset and size in them is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/e820.hpp"
#include "core/boot/entry_state.hpp"
#include "core/boot/initial_memory.hpp"
#include "core/boot/placement.hpp"
#include "core/boot/ram.hpp"

namespace nestbed::boot {

enum class BootProtocol {
    automatic, // what the image is: a bzImage by linux64, ELF by multiboot or PVH, whichever it declares
    linux64,   // Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"
    pvh,       // Xen's docs/misc/pvh.pandoc; a bzImage is decompressed for it
    multiboot, // Multiboot Specification 0.6.96
};

[[nodiscard]] std::string_view to_string(BootProtocol protocol);

struct ForeignInput {
    std::span<const std::byte> image;
    std::span<const std::byte> initrd; // empty: none. The module of PVH and multiboot
    std::string command_line;
    std::string image_name; // first word of a multiboot image's command line, as QEMU has it
    std::span<const RamRange> ram;
    std::span<const E820Entry> e820; // of e820_map(): nothing is put where it does not say usable
    std::uint64_t rsdp = 0;          // guest-physical; 0: none
    BootProtocol protocol = BootProtocol::automatic;
};

struct ForeignBoot {
    std::string protocol;      // "Linux 64-bit boot protocol 2.15", "PVH", "multiboot"
    std::vector<Bytes> pieces; // in ForeignInput::image or ::initrd, which must outlive this, or in `made`
    std::vector<std::vector<std::byte>> made;
    // All memory that is taken, ascending, without overlap: the pieces, and the zeros that follow some of
    // them.
    std::vector<Extent> taken;
    EntryState entry;

    ForeignBoot() = default;
    ForeignBoot(ForeignBoot&&) = default;
    ForeignBoot& operator=(ForeignBoot&&) = default;
    // A copy's pieces would view the original.
    ForeignBoot(const ForeignBoot&) = delete;
    ForeignBoot& operator=(const ForeignBoot&) = delete;
    ~ForeignBoot() = default;
};

// What the image is: not automatic. Errors: bad_input for an image that is none of these, saying what it
// looks like.
[[nodiscard]] Result<BootProtocol> protocol_of(std::span<const std::byte> image);

// Guest memory is taken to be zero where no piece lies. Errors: bad_input for an image that is none of these,
// saying what it looks like; that contradicts itself; that does not fit into the memory with its initrd; or
// whose command line is longer than it takes.
[[nodiscard]] Result<ForeignBoot> load_foreign(const ForeignInput& input);

// What load_foreign() promises: pieces lie within `taken`, which lies in usable RAM and in order, and the
// first instruction within a piece. Errors: check_failed, which is a defect of a loader.
[[nodiscard]] Status check_foreign(const ForeignBoot& boot, const ForeignInput& input);

} // namespace nestbed::boot
