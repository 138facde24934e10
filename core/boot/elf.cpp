#include "core/boot/elf.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include <elf.h>

#include <fmt/format.h>

namespace nestbed::boot {

namespace {

tl::unexpected<Error> refuse(std::string why) {
    return fail(ErrorKind::bad_input, "read the ELF image", std::move(why));
}

std::optional<std::span<const std::byte>> slice(std::span<const std::byte> image, std::uint64_t offset,
                                                std::uint64_t bytes) {
    if (offset > image.size() || bytes > image.size() - offset)
        return std::nullopt;
    return image.subspan(offset, bytes);
}

// The entry of a table, copied out, since nothing says that it is aligned.
template<typename T>
std::optional<T> table_entry(std::span<const std::byte> image, std::uint64_t table, std::uint64_t stride,
                             std::uint64_t index) {
    if (table > image.size())
        return std::nullopt;
    const auto bytes =
        slice(image, table + stride * index, sizeof(T)); // 16-bit counts and strides: no overflow
    if (!bytes)
        return std::nullopt;
    T value{};
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
}

bool is_elf32(const Elf64_Ehdr& header) {
    return header.e_ident[EI_CLASS] == ELFCLASS32;
}

// The fields that are looked at here, as ELF64 has them.
Elf64_Ehdr widened(const Elf32_Ehdr& header) {
    Elf64_Ehdr wide{};
    std::memcpy(wide.e_ident, header.e_ident, sizeof wide.e_ident);
    wide.e_type = header.e_type;
    wide.e_machine = header.e_machine;
    wide.e_entry = header.e_entry;
    wide.e_phoff = header.e_phoff;
    wide.e_phentsize = header.e_phentsize;
    wide.e_phnum = header.e_phnum;
    return wide;
}

Elf64_Phdr widened(const Elf32_Phdr& program) {
    Elf64_Phdr wide{};
    wide.p_type = program.p_type;
    wide.p_offset = program.p_offset;
    wide.p_vaddr = program.p_vaddr;
    wide.p_paddr = program.p_paddr;
    wide.p_filesz = program.p_filesz;
    wide.p_memsz = program.p_memsz;
    return wide;
}

Result<Elf64_Ehdr> read_header(std::span<const std::byte> image) {
    const auto header = table_entry<Elf64_Ehdr>(image, 0, 0, 0);
    if (!header)
        return refuse(fmt::format("{} bytes, shorter than an ELF header", image.size()));
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return refuse("no ELF magic");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64)
        return refuse("not little-endian ELF64 for x86-64");
    if ((header->e_phnum != 0 && header->e_phentsize < sizeof(Elf64_Phdr)) ||
        (header->e_shnum != 0 && header->e_shentsize < sizeof(Elf64_Shdr)))
        return refuse("table entries smaller than their structures");
    return *header;
}

Result<Elf64_Ehdr> read_header32(std::span<const std::byte> image) {
    const auto header = table_entry<Elf32_Ehdr>(image, 0, 0, 0);
    if (!header)
        return refuse(fmt::format("{} bytes, shorter than an ELF header", image.size()));
    if (header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_386)
        return refuse("neither ELF32 for i386 nor ELF64 for x86-64");
    if (header->e_phnum != 0 && header->e_phentsize < sizeof(Elf32_Phdr))
        return refuse("table entries smaller than their structures");
    return widened(*header);
}

std::optional<Elf64_Phdr> read_program(std::span<const std::byte> image, const Elf64_Ehdr& header,
                                       std::uint64_t index) {
    if (!is_elf32(header))
        return table_entry<Elf64_Phdr>(image, header.e_phoff, header.e_phentsize, index);
    const auto narrow = table_entry<Elf32_Phdr>(image, header.e_phoff, header.e_phentsize, index);
    return narrow ? std::optional{widened(*narrow)} : std::nullopt;
}

Result<ElfImage> read_programs(std::span<const std::byte> image, const Elf64_Ehdr& header) {
    if (header.e_type != ET_EXEC)
        return refuse(
            fmt::format("type {}, only fixed-address executables (2) can be loaded", header.e_type));
    ElfImage result{.entry = header.e_entry, .segments = {}, .sections = {}, .notes = {}};
    auto& segments = result.segments;
    for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
        const auto program = read_program(image, header, i);
        if (!program)
            return refuse(fmt::format("program header {} lies outside the file", i));
        const bool is_note = program->p_type == PT_NOTE;
        if (!is_note && (program->p_type != PT_LOAD || program->p_memsz == 0))
            continue;
        const auto data = slice(image, program->p_offset, program->p_filesz);
        if (!data)
            return refuse(fmt::format("segment {} lies outside the file", i));
        if (is_note) {
            result.notes.push_back(*data);
            continue;
        }
        if (program->p_filesz > program->p_memsz)
            return refuse(fmt::format("segment {} has more bytes in the file than in memory", i));
        if (program->p_paddr > std::numeric_limits<std::uint64_t>::max() - program->p_memsz)
            return refuse(fmt::format("segment {} wraps around the address space", i));
        segments.push_back({program->p_paddr, program->p_memsz, *data, program->p_vaddr});
    }
    if (segments.empty())
        return refuse("nothing to load");
    std::sort(segments.begin(), segments.end(),
              [](const Segment& a, const Segment& b) { return a.address < b.address; });
    for (std::size_t i = 1; i < segments.size(); ++i)
        if (segments[i].address < segments[i - 1].address + segments[i - 1].memory_bytes)
            return refuse(fmt::format("segments at {:#x} and {:#x} overlap", segments[i - 1].address,
                                      segments[i].address));
    return result;
}

std::string text_at(std::span<const std::byte> strings, std::uint64_t offset) {
    if (offset >= strings.size())
        return {};
    const auto rest = strings.subspan(offset);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{0});
    return {reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(end - rest.begin())};
}

// Longer ones are cut: every section may name the same megabytes.
std::string name_at(std::span<const std::byte> strings, std::uint64_t offset) {
    constexpr std::size_t longest = 255;
    if (offset >= strings.size())
        return {};
    const auto rest = strings.subspan(offset);
    return text_at(rest.first(std::min(rest.size(), longest)), 0);
}

Result<std::vector<Section>> read_sections(std::span<const std::byte> image, const Elf64_Ehdr& header) {
    std::vector<Section> sections;
    if (header.e_shnum == 0)
        return sections;
    const auto names = table_entry<Elf64_Shdr>(image, header.e_shoff, header.e_shentsize, header.e_shstrndx);
    if (!names || header.e_shstrndx >= header.e_shnum)
        return refuse("the section names lie outside the file");
    const auto strings = slice(image, names->sh_offset, names->sh_size);
    if (!strings)
        return refuse("the section names lie outside the file");
    for (std::uint64_t i = 0; i < header.e_shnum; ++i) {
        const auto section = table_entry<Elf64_Shdr>(image, header.e_shoff, header.e_shentsize, i);
        if (!section)
            return refuse(fmt::format("section header {} lies outside the file", i));
        if (section->sh_type == SHT_NOBITS || section->sh_type == SHT_NULL)
            continue;
        const auto data = slice(image, section->sh_offset, section->sh_size);
        if (!data)
            return refuse(fmt::format("section {} lies outside the file", i));
        sections.push_back({name_at(*strings, section->sh_name), section->sh_addr, *data});
    }
    return sections;
}

} // namespace

std::uint64_t ElfImage::end() const {
    std::uint64_t last = 0;
    for (const auto& segment : segments)
        last = std::max(last, segment.address + segment.memory_bytes);
    return last;
}

bool ElfImage::has_code_at(std::uint64_t address) const {
    return std::ranges::any_of(segments, [&](const Segment& segment) {
        return address >= segment.address && address - segment.address < segment.data.size();
    });
}

std::span<const std::byte> ElfImage::section(std::string_view name) const {
    for (const auto& candidate : sections)
        if (candidate.name == name)
            return candidate.data;
    return {};
}

Result<std::string> ElfImage::string_at(std::uint64_t address) const {
    for (const auto& segment : segments) {
        if (address < segment.address || address - segment.address >= segment.data.size())
            continue;
        const auto rest = segment.data.subspan(address - segment.address);
        if (std::find(rest.begin(), rest.end(), std::byte{0}) == rest.end())
            break;
        return text_at(rest, 0);
    }
    return refuse(fmt::format("no string at {:#x}", address));
}

Result<ElfImage> parse_elf64(std::span<const std::byte> image) {
    const auto header = read_header(image);
    if (!header)
        return tl::unexpected{header.error()};
    auto result = read_programs(image, *header);
    if (!result)
        return result;
    auto sections = read_sections(image, *header);
    if (!sections)
        return tl::unexpected{sections.error()};
    result->sections = std::move(*sections);
    return result;
}

Result<ElfImage> parse_elf(std::span<const std::byte> image) {
    const bool narrow = image.size() > EI_CLASS && std::memcmp(image.data(), ELFMAG, SELFMAG) == 0 &&
                        image[EI_CLASS] == std::byte{ELFCLASS32};
    const auto header = narrow ? read_header32(image) : read_header(image);
    if (!header)
        return tl::unexpected{header.error()};
    return read_programs(image, *header);
}

Result<std::vector<Section>> parse_elf64_sections(std::span<const std::byte> image) {
    const auto header = read_header(image);
    if (!header)
        return tl::unexpected{header.error()};
    return read_sections(image, *header);
}

} // namespace nestbed::boot
