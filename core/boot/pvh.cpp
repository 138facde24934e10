#include "core/boot/pvh.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <elf.h>
#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "core/boot/decompress.hpp"
#include "core/boot/elf.hpp"
#include "core/boot/foreign_builder.hpp"
#include "core/boot/kernel_image.hpp"
#include "core/boot/linux64.hpp"

namespace nestbed::boot {

namespace {

constexpr std::uint64_t max_vmlinux_bytes = GiB;
// Linux copies the map into a zero page, and counts in 8 bits (arch/x86/platform/pvh/enlighten.c).
constexpr std::size_t max_memory_ranges = 128;
constexpr std::size_t max_command_line =
    2047; // COMMAND_LINE_SIZE less the NUL; what is longer Linux would cut

template<typename T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
    T value{};
    std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
    return value;
}

tl::unexpected<Error> refuse(std::string found, std::string remedy = {}) {
    return fail(ErrorKind::bad_input, "load the kernel by its PVH entry", std::move(found),
                std::move(remedy));
}

// Nothing where this sequence of notes has no PHYS32_ENTRY.
std::optional<std::uint64_t> entry_in(std::span<const std::byte> notes) {
    constexpr std::uint32_t xen_elfnote_phys32_entry = 18;
    constexpr std::string_view owner{"Xen\0", 4};
    for (auto rest = notes; rest.size() >= sizeof(Elf64_Nhdr);) {
        const auto note = read_at<Elf64_Nhdr>(rest, 0);
        const auto name = rest.subspan(sizeof note);
        if (note.n_type == xen_elfnote_phys32_entry && note.n_namesz == owner.size() &&
            name.size() >= owner.size() && std::memcmp(name.data(), owner.data(), owner.size()) == 0) {
            const auto value = name.subspan(owner.size());
            if (note.n_descsz == sizeof(std::uint64_t) && value.size() >= sizeof(std::uint64_t))
                return read_at<std::uint64_t>(value, 0);
            if (note.n_descsz == sizeof(std::uint32_t) && value.size() >= sizeof(std::uint32_t))
                return read_at<std::uint32_t>(value, 0);
            return std::nullopt;
        }
        const auto whole = sizeof note + round_up(std::uint64_t{note.n_namesz}, 4) +
                           round_up(std::uint64_t{note.n_descsz}, 4);
        if (whole > rest.size())
            return std::nullopt;
        rest = rest.subspan(whole);
    }
    return std::nullopt;
}

// The vmlinux in a bzImage, or the image itself. Kept where it had to be made.
Result<std::span<const std::byte>> vmlinux_of(ForeignBuilder& builder, const ForeignInput& input) {
    if (!is_bzimage(input.image))
        return input.image;
    std::uint64_t memory = 0;
    for (const auto& range : input.ram)
        memory += range.bytes;
    return compressed_vmlinux(input.image)
        .and_then([&](std::span<const std::byte> payload) {
            return decompressed(payload, std::min(max_vmlinux_bytes, memory));
        })
        .map([&](const std::string& vmlinux) {
            const auto bytes = std::as_bytes(std::span{vmlinux});
            return builder.keep({bytes.begin(), bytes.end()});
        });
}

} // namespace

std::optional<std::uint64_t> pvh_entry(std::span<const std::byte> vmlinux) {
    if (const auto image = parse_elf(vmlinux))
        for (const auto& notes : image->notes)
            if (const auto entry = entry_in(notes))
                return entry;
    // Without program headers for them, notes are still a section of that name.
    if (const auto sections = parse_elf64_sections(vmlinux))
        for (const auto& section : *sections)
            if (section.name == ".notes")
                return entry_in(section.data);
    return std::nullopt;
}

Result<ForeignBoot> load_pvh(const ForeignInput& input) {
    ForeignBuilder builder{input};
    const auto vmlinux = vmlinux_of(builder, input);
    if (!vmlinux)
        return tl::unexpected{vmlinux.error()};
    const auto image = parse_elf(*vmlinux);
    if (!image)
        return tl::unexpected{image.error()};
    const auto entry = pvh_entry(*vmlinux);
    if (!entry)
        return refuse("it has no Xen note PHYS32_ENTRY", "use a kernel with CONFIG_PVH=y");
    if (!image->has_code_at(*entry) || *entry >= below_4g.end)
        return refuse(
            fmt::format("it is entered at {:#x}, where it has no code, or none below 4 GiB", *entry));
    if (input.command_line.size() > max_command_line)
        return refuse(fmt::format("a command line of {} bytes, and Linux reads {}", input.command_line.size(),
                                  max_command_line),
                      "shorten --append");
    if (input.e820.size() > max_memory_ranges)
        return refuse(fmt::format("a memory map of {} entries, and Linux reads {}", input.e820.size(),
                                  max_memory_ranges),
                      "use --protocol linux64");
    if (auto put = builder.put_segments(*image); !put)
        return tl::unexpected{put.error()};

    HvmStartInfo start;
    if (!input.initrd.empty()) {
        const auto initrd = builder.put(input.initrd, {{MiB, below_4g.end}, 4 * KiB, true}, "the initrd");
        if (!initrd)
            return tl::unexpected{initrd.error()};
        const auto module =
            builder.put_made(bytes_of(HvmModule{.address = *initrd, .bytes = input.initrd.size()}),
                             {below_4g, 8}, "the list of modules");
        if (!module)
            return tl::unexpected{module.error()};
        start.modules = 1;
        start.module_list = *module;
    }
    std::vector<HvmMemoryRange> ranges;
    for (const auto& entry_of_map : input.e820)
        ranges.push_back({.address = entry_of_map.address,
                          .bytes = entry_of_map.bytes,
                          .type = static_cast<std::uint32_t>(entry_of_map.type)});
    const auto map = builder.put_made(bytes_of(ranges), {below_4g, 8}, "the memory map");
    const auto text = builder.put_text(input.command_line, {below_4g}, "the command line");
    if (auto good = first_error(map, text); !good)
        return tl::unexpected{good.error()};
    start.command_line = *text;
    start.rsdp = input.rsdp;
    start.memory_map = *map;
    start.memory_ranges = static_cast<std::uint32_t>(ranges.size());
    const auto info = builder.put_made(bytes_of(start), {below_4g, 8}, "hvm_start_info");
    if (!info)
        return tl::unexpected{info.error()};
    return std::move(builder).finish("PVH", {.mode = EntryMode::protected_mode, .rip = *entry, .rbx = *info});
}

} // namespace nestbed::boot
