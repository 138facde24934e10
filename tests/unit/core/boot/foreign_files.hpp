// The least that passes for a bzImage, a PVH kernel and a multiboot image, to be corrupted by the tests; and
// a guest's view of what was made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "core/boot/foreign_image.hpp"

namespace nestbed::boot::test {

inline constexpr std::uint64_t ram_bytes = 64 * MiB;
inline constexpr Extent acpi{ram_bytes - 64 * KiB, 64 * KiB};

// 64 MiB of RAM on two nodes, ACPI tables at its end, and an initrd of 5000 bytes.
class ForeignGuest {
public:
    explicit ForeignGuest(std::string image);
    ForeignGuest(const ForeignGuest&) = delete;

    [[nodiscard]] Result<ForeignBoot> load() const;
    [[nodiscard]] ForeignInput input() const;

    std::string image;
    std::string initrd = std::string(5000, 'i');
    std::string command_line = "console=ttyS0 quiet";
    std::vector<RamRange> ram{{0, 20 * MiB, 0}, {20 * MiB, ram_bytes - 20 * MiB, 1}};
    std::vector<E820Entry> e820;
    std::uint64_t rsdp = acpi.address;
    BootProtocol protocol = BootProtocol::automatic;
};

// What the guest reads at an address: zeros where no piece lies.
[[nodiscard]] std::string read(const ForeignBoot& boot, std::uint64_t address, std::uint64_t bytes);
// Up to a NUL.
[[nodiscard]] std::string read_text(const ForeignBoot& boot, std::uint64_t address);
template<typename T>
[[nodiscard]] T read(const ForeignBoot& boot, std::uint64_t address) {
    T value{};
    const auto bytes = read(boot, address, sizeof value);
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
}

template<typename T>
void put(std::string& image, std::size_t offset, T value) {
    image.replace(offset, sizeof value, reinterpret_cast<const char*>(&value), sizeof value);
}

// Where fields are in a bzImage (boot.rst, "The Real-Mode Kernel Header").
namespace bzimage_field {
inline constexpr std::size_t setup_sects = 0x1f1;
inline constexpr std::size_t syssize = 0x1f4;
inline constexpr std::size_t jump = 0x201;
inline constexpr std::size_t magic = 0x202;
inline constexpr std::size_t version = 0x206;
inline constexpr std::size_t type_of_loader = 0x210;
inline constexpr std::size_t ramdisk_image = 0x218;
inline constexpr std::size_t ramdisk_size = 0x21c;
inline constexpr std::size_t cmd_line_ptr = 0x228;
inline constexpr std::size_t initrd_addr_max = 0x22c;
inline constexpr std::size_t kernel_alignment = 0x230;
inline constexpr std::size_t relocatable_kernel = 0x234;
inline constexpr std::size_t xloadflags = 0x236;
inline constexpr std::size_t cmdline_size = 0x238;
inline constexpr std::size_t setup_data = 0x250;
inline constexpr std::size_t pref_address = 0x258;
inline constexpr std::size_t init_size = 0x260;
} // namespace bzimage_field

// 5 sectors and 4096 bytes of 'k', to be loaded to 16 MiB and to use 8 MiB there.
[[nodiscard]] std::string bzimage();
inline constexpr std::uint64_t bzimage_address = 16 * MiB;
inline constexpr std::uint64_t bzimage_memory = 8 * MiB;
inline constexpr std::size_t bzimage_setup_bytes = 5 * 512;

// ELF64 (or ELF32) with segments at 1 MiB (4096 bytes, 3 MiB of memory; mapped to 0xffff...8010'0000 or
// 0xc010'0000) and at 8 MiB (32 bytes); entered at its first byte.
[[nodiscard]] std::string elf(bool is_32, const std::string& first_bytes = {});
inline constexpr std::uint64_t elf_address = MiB;
inline constexpr std::uint64_t elf_memory = 3 * MiB;
inline constexpr std::uint64_t elf_second = 8 * MiB;
inline constexpr std::size_t elf32_header_bytes = 52; // then come the program headers
inline constexpr std::size_t elf32_program_bytes = 32;
inline constexpr std::size_t elf64_header_bytes = 64;
inline constexpr std::size_t elf64_program_bytes = 56;

// The same with a multiboot header in its first segment.
[[nodiscard]] std::string multiboot_elf(bool is_32, std::uint32_t flags = 3);
// No ELF: 100 bytes, then the header, then 'f' up to 3000 bytes. Loaded from the 50th byte on to 2 MiB.
[[nodiscard]] std::string multiboot_flat();
inline constexpr std::size_t flat_header = 100;
inline constexpr std::uint32_t flat_address = 2 * MiB;
[[nodiscard]] std::string multiboot_header(std::uint32_t flags);

// The ELF64 with a PT_NOTE of the owner Xen and type 18 whose `entry` has 4 or 8 bytes.
[[nodiscard]] std::string pvh_elf(std::uint64_t entry = elf_address + 8, std::uint32_t entry_bytes = 8,
                                  bool is_32 = false);

} // namespace nestbed::boot::test
