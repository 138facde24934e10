#include "core/boot/multiboot.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <elf.h>
#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "core/boot/elf.hpp"
#include "core/boot/foreign_builder.hpp"

namespace nestbed::boot {

namespace {

// 3.1.2 "The magic fields of Multiboot header". A loader that does not know one of bits 0 to 15 has to fail.
constexpr std::uint32_t required_flags = 0xffff;
constexpr std::uint32_t align_modules = 1U << 0;
constexpr std::uint32_t wants_memory = 1U << 1;
constexpr std::uint32_t has_addresses = 1U << 16;
constexpr std::size_t search_bytes = 8192;
constexpr std::size_t magic_fields_bytes = 12;

constexpr std::uint64_t entry_magic = 0x2bad'b002; // 3.2 "Machine state"

// 3.3 "Boot information format".
struct Information {
    std::uint32_t flags = 0;
    std::uint32_t memory_lower = 0; // KiB from 0
    std::uint32_t memory_upper = 0; // KiB from 1 MiB
    std::uint32_t boot_device = 0;
    std::uint32_t command_line = 0;
    std::uint32_t module_count = 0;
    std::uint32_t modules = 0;
    std::uint32_t symbols[4] = {};
    std::uint32_t map_bytes = 0;
    std::uint32_t map = 0;
    std::uint32_t drives_bytes = 0;
    std::uint32_t drives = 0;
    std::uint32_t config_table = 0;
    std::uint32_t loader_name = 0;
    std::uint32_t apm_table = 0;
    std::uint32_t vbe[4] = {};
};
static_assert(sizeof(Information) == 88);

constexpr std::uint32_t has_memory = 1U << 0; // in Information::flags
constexpr std::uint32_t has_command_line = 1U << 2;
constexpr std::uint32_t has_modules = 1U << 3;
constexpr std::uint32_t has_map = 1U << 6;
constexpr std::uint32_t has_loader_name = 1U << 9;

struct Module {
    std::uint32_t start = 0;
    std::uint32_t end = 0;
    std::uint32_t text = 0;
    std::uint32_t reserved = 0;
};

struct [[gnu::packed]] MapEntry {
    std::uint32_t size = 0; // of what follows
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t type = 0;
};
static_assert(sizeof(MapEntry) == 24);

tl::unexpected<Error> refuse(std::string found, std::string remedy = {}) {
    return fail(ErrorKind::bad_input, "load the multiboot image", std::move(found), std::move(remedy));
}

// The program headers' addresses may be physical, the entry's is often virtual.
std::optional<std::uint64_t> entry_of(const ElfImage& image) {
    for (const auto& segment : image.segments)
        if (image.entry >= segment.virtual_address &&
            image.entry - segment.virtual_address < segment.data.size())
            return segment.address + (image.entry - segment.virtual_address);
    return image.has_code_at(image.entry) ? std::optional{image.entry} : std::nullopt;
}

Result<std::uint64_t> put_elf(ForeignBuilder& builder, std::span<const std::byte> bytes) {
    const auto image = parse_elf(bytes);
    if (!image)
        return tl::unexpected{image.error()};
    const auto entry = entry_of(*image);
    if (!entry)
        return refuse(fmt::format("its entry {:#x} lies in none of its segments", image->entry));
    if (auto put = builder.put_segments(*image); !put)
        return tl::unexpected{put.error()};
    return *entry;
}

// 3.1.3 "The address fields of Multiboot header".
Result<std::uint64_t> put_flat(ForeignBuilder& builder, std::span<const std::byte> image,
                               const FoundMultibootHeader& found) {
    const auto& header = found.header;
    if (image.size() - found.offset < sizeof header)
        return refuse("it ends within the address fields of its header");
    const auto before = std::uint64_t{header.header_address} - header.load_address;
    if (header.load_address > header.header_address || before > found.offset)
        return refuse(
            fmt::format("its header, {:#x} bytes into the file, is to lie at {:#x} and its start at "
                        "{:#x}",
                        found.offset, header.header_address, header.load_address));
    const auto rest = image.subspan(found.offset - before);
    if (header.load_end != 0 &&
        (header.load_end < header.load_address || header.load_end - header.load_address > rest.size()))
        return refuse(
            fmt::format("it is to be loaded from {:#x} to {:#x}, and the file has {:#x} bytes of that",
                        header.load_address, header.load_end, rest.size()));
    const auto data = header.load_end == 0 ? rest : rest.first(header.load_end - header.load_address);
    const auto load_end = std::uint64_t{header.load_address} + data.size();
    if (header.bss_end != 0 && header.bss_end < load_end)
        return refuse(
            fmt::format("its bss ends at {:#x}, before its data at {:#x}", header.bss_end, load_end));
    if (header.entry < header.load_address || header.entry >= load_end)
        return refuse(fmt::format("its entry {:#x} is not within {:#x} to {:#x}", header.entry,
                                  header.load_address, load_end));
    const auto end = std::max<std::uint64_t>(header.bss_end, load_end);
    return builder.put_at(header.load_address, end - header.load_address, data, "the image").map([&] {
        return std::uint64_t{header.entry};
    });
}

// What is usable from `start` on, in KiB.
std::uint32_t usable_kib(std::span<const E820Entry> map, std::uint64_t start, std::uint64_t limit) {
    for (const auto& entry : map)
        if (entry.type == E820Type::usable && entry.address <= start && start < entry.end())
            return static_cast<std::uint32_t>((std::min(entry.end(), limit) - start) / KiB);
    return 0;
}

std::vector<MapEntry> map_of(std::span<const E820Entry> map) {
    std::vector<MapEntry> entries;
    for (const auto& entry : map)
        entries.push_back({.size = sizeof(MapEntry) - sizeof(MapEntry::size),
                           .address = entry.address,
                           .bytes = entry.bytes,
                           .type = static_cast<std::uint32_t>(entry.type)});
    return entries;
}

// Images take the first word for the name of their file.
std::string whole_command_line(const ForeignInput& input) {
    auto name = input.image_name.empty() ? std::string{"image"} : input.image_name;
    std::ranges::replace_if(
        name, [](char c) { return static_cast<unsigned char>(c) <= ' '; }, '_');
    return input.command_line.empty() ? name : name + ' ' + input.command_line;
}

// The environment of kvm-unit-tests is small and has to lie low; another kernel's initrd may be large.
Result<std::uint64_t> put_module(ForeignBuilder& builder, std::span<const std::byte> module) {
    const auto low = builder.put(module, {below_640k, 4 * KiB}, "the module");
    return low ? low : builder.put(module, {{MiB, below_4g.end}, 4 * KiB, true}, "the module");
}

} // namespace

std::optional<FoundMultibootHeader> find_multiboot_header(std::span<const std::byte> image) {
    const auto limit = std::min(image.size(), search_bytes);
    for (std::size_t offset = 0; offset + magic_fields_bytes <= limit; offset += 4) {
        FoundMultibootHeader found{.offset = offset, .header = {}};
        std::memcpy(&found.header, image.data() + offset,
                    std::min(sizeof found.header, image.size() - offset));
        if (found.header.magic == MultibootHeader{}.magic &&
            found.header.magic + found.header.flags + found.header.checksum == 0)
            return found;
    }
    return std::nullopt;
}

Result<ForeignBoot> load_multiboot(const ForeignInput& input) {
    const auto found = find_multiboot_header(input.image);
    if (!found)
        return refuse("no multiboot header in its first 8192 bytes");
    if (const auto unknown = found->header.flags & required_flags & ~(align_modules | wants_memory);
        unknown != 0)
        return refuse(fmt::format("it requires what is not here: flags {:#x}{}", unknown,
                                  (unknown & 4) != 0 ? ", a video mode" : ""));

    ForeignBuilder builder{input};
    const auto entry = (found->header.flags & has_addresses) != 0 ? put_flat(builder, input.image, *found)
                                                                  : put_elf(builder, input.image);
    if (!entry)
        return tl::unexpected{entry.error()};

    const auto text = builder.put_text(whole_command_line(input), {below_640k}, "the command line");
    const auto name = builder.put_text("nestbed", {below_640k}, "the loader's name");
    const auto entries = map_of(input.e820);
    const auto map = builder.put_made(bytes_of(entries), {below_640k, 4}, "the memory map");
    if (auto good = first_error(text, name, map); !good)
        return tl::unexpected{good.error()};
    Information information{
        .flags = has_memory | has_command_line | has_map | has_loader_name,
        .memory_lower = usable_kib(input.e820, 0, 640 * KiB),
        .memory_upper = usable_kib(input.e820, MiB, below_4g.end),
        .command_line = static_cast<std::uint32_t>(*text),
        .map_bytes = static_cast<std::uint32_t>(entries.size() * sizeof(MapEntry)),
        .map = static_cast<std::uint32_t>(*map),
        .loader_name = static_cast<std::uint32_t>(*name),
    };
    if (!input.initrd.empty()) {
        const auto module = put_module(builder, input.initrd);
        const auto module_text = builder.put_text("initrd", {below_640k}, "the module's name");
        if (auto good = first_error(module, module_text); !good)
            return tl::unexpected{good.error()};
        const auto list =
            builder.put_made(bytes_of(Module{.start = static_cast<std::uint32_t>(*module),
                                             .end = static_cast<std::uint32_t>(*module + input.initrd.size()),
                                             .text = static_cast<std::uint32_t>(*module_text)}),
                             {below_640k, 4}, "the list of modules");
        if (!list)
            return tl::unexpected{list.error()};
        information.flags |= has_modules;
        information.module_count = 1;
        information.modules = static_cast<std::uint32_t>(*list);
    }
    const auto info = builder.put_made(bytes_of(information), {below_640k, 4}, "the multiboot information");
    if (!info)
        return tl::unexpected{info.error()};
    return std::move(builder).finish(
        "multiboot", {.mode = EntryMode::protected_mode, .rip = *entry, .rax = entry_magic, .rbx = *info});
}

} // namespace nestbed::boot
