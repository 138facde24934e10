#include "core/boot/foreign_image.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "core/boot/elf.hpp"
#include "core/boot/free_memory.hpp"
#include "core/boot/linux64.hpp"
#include "core/boot/multiboot.hpp"
#include "core/boot/pvh.hpp"

namespace nestbed::boot {

namespace {

using namespace std::string_view_literals;

tl::unexpected<Error> refuse(std::string found, std::string remedy) {
    return fail(ErrorKind::bad_input, "load the image", std::move(found), std::move(remedy));
}

struct Look {
    std::size_t offset;
    std::string_view magic;
    std::string_view what;
    std::string_view remedy;
};

constexpr auto decompress_it = "decompress it first"sv;
constexpr auto name_a_kernel = "name a bzImage, a vmlinux with a PVH entry, or a multiboot image"sv;

// The first that fits.
constexpr std::array looks{
    Look{4, "zimg"sv, "an EFI zboot image", "name the kernel in it, decompressed"},
    Look{0, "MZ"sv, "a PE image for EFI", name_a_kernel},
    Look{0, "\x1f\x8b"sv, "compressed with gzip", decompress_it},
    Look{0,
         "\xfd"
         "7zXZ\0"sv,
         "compressed with xz", decompress_it},
    Look{0, "\x28\xb5\x2f\xfd"sv, "compressed with zstd", decompress_it},
    Look{0, "BZh"sv, "compressed with bzip2", decompress_it},
    Look{0, "\x04\x22\x4d\x18"sv, "compressed with lz4", decompress_it},
    Look{0, "\x02\x21\x4c\x18"sv, "compressed with lz4", decompress_it},
    Look{0, "070701"sv, "a cpio archive", "give an initramfs with --initrd"},
    Look{0, "QFI\xfb"sv, "a qcow2 disk", name_a_kernel},
    Look{0, "!<arch>"sv, "an ar archive, such as a Debian package", name_a_kernel},
    Look{0, "#!"sv, "a script", name_a_kernel},
    Look{0x8001, "CD001"sv, "an ISO 9660 disk", name_a_kernel},
    Look{0x1fe, "\x55\xaa"sv, "a boot sector, for a BIOS", name_a_kernel},
};

bool is_elf(std::string_view image) {
    return image.starts_with("\x7f"
                             "ELF");
}

bool is_own_payload(std::span<const std::byte> image) {
    const auto sections = parse_elf64_sections(image);
    return sections && std::ranges::any_of(
                           *sections, [](const Section& section) { return section.name == ".nestbed.info"; });
}

bool has_multiboot2_header(std::string_view image) {
    constexpr auto magic = "\xd6\x50\x52\xe8"sv; // at a multiple of 8 in the first 32768 bytes
    const auto start = image.substr(0, 32768);
    for (auto at = start.find(magic); at != std::string_view::npos; at = start.find(magic, at + 1))
        if (at % 8 == 0)
            return true;
    return false;
}

// For an image that no protocol is found in.
tl::unexpected<Error> refuse_by_looks(std::string_view image) {
    if (has_multiboot2_header(image))
        return refuse("it is a multiboot 2 image, and only multiboot 1 is known here",
                      std::string{name_a_kernel});
    if (is_elf(image))
        return refuse("it is an ELF image with neither a multiboot header nor a Xen note PHYS32_ENTRY",
                      "use a kernel with CONFIG_PVH=y, or the bzImage of the same build");
    for (const auto& look : looks)
        if (image.size() > look.offset && image.substr(look.offset).starts_with(look.magic))
            return refuse(fmt::format("it looks like {}", look.what), std::string{look.remedy});
    std::string start;
    for (const char byte : image.substr(0, 8))
        start += fmt::format(" {:02x}", static_cast<unsigned char>(byte));
    return refuse(fmt::format("{} bytes that are nothing known, starting with{}", image.size(), start),
                  std::string{name_a_kernel});
}

Result<ForeignBoot> load_by(BootProtocol protocol, const ForeignInput& input) {
    switch (protocol) {
    case BootProtocol::pvh:
        return load_pvh(input);
    case BootProtocol::multiboot:
        return load_multiboot(input);
    case BootProtocol::automatic:
    case BootProtocol::linux64:
        break;
    }
    return load_linux64(input);
}

} // namespace

Result<BootProtocol> protocol_of(std::span<const std::byte> image) {
    const std::string_view text{reinterpret_cast<const char*>(image.data()), image.size()};
    if (image.empty())
        return refuse("it is empty", std::string{name_a_kernel});
    if (is_bzimage(image))
        return BootProtocol::linux64;
    if (is_elf(text) && is_own_payload(image))
        return refuse("it is a payload of nestbed's own", "run it with nestbed run");
    if (find_multiboot_header(image))
        return BootProtocol::multiboot;
    if (is_elf(text)) {
        // What is wrong with it matters more than what it has no note for.
        if (auto parsed = parse_elf(image); !parsed)
            return tl::unexpected{parsed.error()};
        if (pvh_entry(image))
            return BootProtocol::pvh;
    }
    return refuse_by_looks(text);
}

std::string_view to_string(BootProtocol protocol) {
    switch (protocol) {
    case BootProtocol::automatic:
        return "automatic";
    case BootProtocol::linux64:
        return "linux64";
    case BootProtocol::pvh:
        return "pvh";
    case BootProtocol::multiboot:
        return "multiboot";
    }
    return "unknown";
}

Result<ForeignBoot> load_foreign(const ForeignInput& input) {
    if (input.command_line.find('\0') != std::string::npos)
        return fail(ErrorKind::bad_input, "pass the command line", "there is a NUL in it");
    const auto found = protocol_of(input.image);
    if (!found)
        return tl::unexpected{found.error()};
    const auto protocol = input.protocol == BootProtocol::automatic ? *found : input.protocol;
    auto boot = load_by(protocol, input);
    if (boot)
        if (auto good = check_foreign(*boot, input); !good)
            return tl::unexpected{good.error()};
    return boot;
}

Status check_foreign(const ForeignBoot& boot, const ForeignInput& input) {
    const auto defect = [](std::string found) {
        return fail(ErrorKind::check_failed, "check what was loaded", std::move(found),
                    "this is a defect of nestbed");
    };
    const FreeMemory usable{input.ram, input.e820};
    std::uint64_t end = 0;
    for (const auto& extent : boot.taken) {
        if (extent.address < end || !usable.is_free(extent))
            return defect(fmt::format("{:#x} bytes at {:#x} overlap or are no usable RAM", extent.bytes,
                                      extent.address));
        end = extent.address + extent.bytes;
    }
    const auto lies_in = [](Extent inner, Extent outer) {
        return inner.address >= outer.address && inner.bytes <= outer.bytes &&
               inner.address - outer.address <= outer.bytes - inner.bytes;
    };
    std::vector<std::uint64_t> holders; // the extent of each piece: no two share one
    for (const auto& piece : boot.pieces) {
        const auto holder = std::ranges::find_if(boot.taken, [&](const Extent& extent) {
            return lies_in({piece.address, piece.data.size()}, extent);
        });
        if (holder == boot.taken.end())
            return defect(
                fmt::format("{:#x} bytes at {:#x} were never taken", piece.data.size(), piece.address));
        holders.push_back(holder->address);
    }
    std::ranges::sort(holders);
    if (std::ranges::adjacent_find(holders) != holders.end())
        return defect("two pieces overlap");
    const Extent first_instruction{boot.entry.rip, 1};
    if (std::ranges::none_of(boot.pieces, [&](const Bytes& piece) {
            return lies_in(first_instruction, {piece.address, piece.data.size()});
        }))
        return defect(fmt::format("nothing lies at the entry {:#x}", boot.entry.rip));
    return {};
}

} // namespace nestbed::boot
