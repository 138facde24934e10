#include "core/boot/elf.hpp"

#include <functional>
#include <limits>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "elf_image.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
using testing::HasSubstr;

bool lies_in(std::span<const std::byte> part, const Bytes& image) {
    return part.empty() ||
           (part.data() >= image.data() && part.data() + part.size() <= image.data() + image.size());
}

TEST(Elf, GoodImageIsReadWhole) {
    const auto bytes = good_image();
    const auto image = parse_elf64(bytes);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->entry, entry);

    ASSERT_EQ(image->segments.size(), 2U) << "both, whatever their order in the file";
    EXPECT_EQ(image->segments[0].address, first_address);
    EXPECT_EQ(image->segments[0].memory_bytes, first_memory_bytes);
    EXPECT_EQ(image->segments[0].data.data(), bytes.data() + first_data);
    EXPECT_EQ(image->segments[0].data.size(), first_data_bytes);
    EXPECT_EQ(image->segments[1].address, second_address);
    EXPECT_EQ(image->segments[1].data.data(), bytes.data() + second_data);
    EXPECT_EQ(image->end(), second_address + second_data_bytes);

    ASSERT_EQ(image->sections.size(), 2U) << ".bss has no bytes in the file";
    EXPECT_EQ(image->sections[1].name, ".data");
    EXPECT_EQ(image->sections[1].address, first_address);
    EXPECT_EQ(image->section(".data").data(), bytes.data() + first_data);
    EXPECT_EQ(image->section(".data").size(), first_data_bytes);
    EXPECT_TRUE(image->section(".dat").empty());
    EXPECT_TRUE(image->section(".bss").empty());
}

TEST(Elf, StringsEndWithinTheirSegment) {
    const auto bytes = good_image();
    const auto image = parse_elf64(bytes);
    ASSERT_TRUE(image);
    EXPECT_EQ(image->string_at(first_address + 4), "hello");
    EXPECT_EQ(image->string_at(first_address + 6), "llo");
    EXPECT_EQ(image->string_at(first_address + 9), "") << "the zero itself";
    EXPECT_EQ(image->string_at(first_address + 10), "again");
    for (const std::uint64_t address :
         {std::uint64_t{0}, first_address - 1, first_address + first_data_bytes, second_address,
          second_address + second_data_bytes, ~std::uint64_t{0}}) {
        const auto text = image->string_at(address);
        ASSERT_FALSE(text) << std::hex << address;
        EXPECT_EQ(text.error().kind, ErrorKind::bad_input);
    }
}

TEST(Elf, SectionsMayBeMissing) {
    auto bytes = good_image();
    put(bytes, offsetof(Elf64_Ehdr, e_shnum), std::uint16_t{0});
    put(bytes, offsetof(Elf64_Ehdr, e_shentsize), std::uint16_t{0});
    const auto image = parse_elf64(bytes);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_TRUE(image->sections.empty());
    EXPECT_EQ(image->segments.size(), 2U);
}

TEST(Elf, CutShortAnywhereIsRefused) {
    const auto whole = good_image();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        // A copy of exactly that size, so that a sanitizer sees a read past it.
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        const auto image = parse_elf64(cut);
        ASSERT_FALSE(image) << size;
        EXPECT_EQ(image.error().kind, ErrorKind::bad_input) << size;
        EXPECT_FALSE(image.error().found.empty()) << size;
    }
}

TEST(Elf, AnyByteMayBeAnything) {
    auto bytes = good_image();
    std::size_t accepted = 0;
    for (auto& byte : bytes) {
        const auto before = byte;
        for (const unsigned value : {0x00U, 0x01U, 0x7fU, 0x80U, 0xffU}) {
            byte = static_cast<std::byte>(value);
            const auto image = parse_elf64(bytes);
            if (!image) {
                EXPECT_EQ(image.error().kind, ErrorKind::bad_input);
                continue;
            }
            ++accepted;
            for (const auto& segment : image->segments) {
                EXPECT_TRUE(lies_in(segment.data, bytes));
                EXPECT_LE(segment.data.size(), segment.memory_bytes);
                EXPECT_LE(segment.address, image->end());
            }
            for (const auto& section : image->sections)
                EXPECT_TRUE(lies_in(section.data, bytes));
        }
        byte = before;
    }
    EXPECT_GT(accepted, bytes.size()) << "most bytes are not of structural use";
}

struct Corruption {
    std::string name;
    std::string complaint; // what `found` must say
    std::function<void(Bytes&)> corrupt;
};

class CorruptElf : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptElf, IsRefusedWithTheReason) {
    auto bytes = good_image();
    GetParam().corrupt(bytes);
    const auto image = parse_elf64(bytes);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(image.error().found, HasSubstr(GetParam().complaint));
}

// One field of the ELF header, of program header 0 or of a section header.
template<typename T>
std::function<void(Bytes&)> in_header(std::size_t offset, T value) {
    return [=](Bytes& image) { put(image, offset, value); };
}
template<typename T>
std::function<void(Bytes&)> in_segment(std::size_t offset, T value) {
    return in_header(program_header(0) + offset, value);
}
template<typename T>
std::function<void(Bytes&)> in_section(std::size_t index, std::size_t offset, T value) {
    return in_header(section_header(index) + offset, value);
}

constexpr auto largest = std::numeric_limits<std::uint64_t>::max();

INSTANTIATE_TEST_SUITE_P(All, CorruptElf,
                         testing::
                             Values(
                                 Corruption{"Magic", "no ELF magic", in_header(0, std::uint8_t{0})},
                                 Corruption{"Elf32", "not little-endian ELF64",
                                            in_header(EI_CLASS, std::uint8_t{ELFCLASS32})},
                                 Corruption{"BigEndian", "not little-endian ELF64",
                                            in_header(EI_DATA, std::uint8_t{ELFDATA2MSB})},
                                 Corruption{
                                     "OtherMachine", "x86-64",
                                     in_header(offsetof(Elf64_Ehdr, e_machine), std::uint16_t{EM_AARCH64})},
                                 Corruption{"SharedObject", "type 3",
                                            in_header(offsetof(Elf64_Ehdr, e_type), std::uint16_t{ET_DYN})},
                                 Corruption{"SmallProgramEntries", "table entries",
                                            in_header(offsetof(Elf64_Ehdr, e_phentsize),
                                                      std::uint16_t{sizeof(Elf64_Phdr) - 1})},
                                 Corruption{"SmallSectionEntries", "table entries",
                                            in_header(offsetof(Elf64_Ehdr, e_shentsize),
                                                      std::uint16_t{sizeof(Elf64_Shdr) - 1})},
                                 Corruption{"NoSegments", "nothing to load",
                                            in_header(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{0})},
                                 Corruption{"ManySegments", "lies outside the file",
                                            in_header(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{0xffff})},
                                 Corruption{
                                     "HugeProgramEntries", "program header 1 lies outside",
                                     in_header(offsetof(Elf64_Ehdr, e_phentsize), std::uint16_t{0xffff})},
                                 Corruption{
                                     "ProgramTableOutside", "program header 0 lies outside",
                                     in_header(offsetof(Elf64_Ehdr, e_phoff), std::uint64_t{image_bytes})},
                                 Corruption{"ProgramTableWraps", "program header 0 lies outside",
                                            in_header(offsetof(Elf64_Ehdr, e_phoff), largest - 8)},
                                 Corruption{"SegmentOutside", "segment 0 lies outside",
                                            in_segment(offsetof(Elf64_Phdr, p_offset),
                                                       std::uint64_t{image_bytes - 7})},
                                 Corruption{"SegmentOffsetWraps", "segment 0 lies outside",
                                            in_segment(offsetof(Elf64_Phdr, p_offset), largest - 3)},
                                 Corruption{"MoreInTheFileThanInMemory",
                                            "segment 0 has more bytes in the file",
                                            in_segment(offsetof(Elf64_Phdr, p_memsz),
                                                       std::uint64_t{second_data_bytes - 1})},
                                 Corruption{"AddressWraps", "segment 0 wraps",
                                            in_segment(offsetof(Elf64_Phdr, p_paddr), largest - 6)},
                                 Corruption{"MemorySizeWraps", "segment 0 wraps",
                                            in_segment(offsetof(Elf64_Phdr, p_memsz), largest)},
                                 Corruption{"Overlap", "0x1000 and 0x101f overlap",
                                            in_segment(offsetof(Elf64_Phdr, p_paddr),
                                                       first_address + first_memory_bytes - 1)},
                                 Corruption{
                                     "SameAddress",
                                     "overlap", in_segment(offsetof(Elf64_Phdr, p_paddr), first_address)},
                                 Corruption{
                                     "SectionTableOutside", "section names lie outside",
                                     in_header(offsetof(Elf64_Ehdr, e_shoff), std::uint64_t{image_bytes})},
                                 Corruption{"SectionTableWraps", "section names lie outside",
                                            in_header(offsetof(Elf64_Ehdr, e_shoff), largest - 63)},
                                 Corruption{
                                     "OneSectionMore", "section header 4 lies outside",
                                     in_header(
                                         offsetof(Elf64_Ehdr, e_shnum), std::uint16_t{section_count + 1})},
                                 Corruption{
                                     "NameIndexOutOfRange", "section names",
                                     in_header(offsetof(Elf64_Ehdr, e_shstrndx),
                                               std::uint16_t{section_count})},
                                 Corruption{"NameIndexBeyondTheFewerSections", "section names",
                                            [](Bytes& image) {
                                                put(image, offsetof(Elf64_Ehdr, e_shnum), std::uint16_t{2});
                                                put(image, offsetof(Elf64_Ehdr, e_shstrndx),
                                                    std::uint16_t{2});
                                            }},
                                 Corruption{"NamesOutside", "section names lie outside",
                                            in_section(1, offsetof(Elf64_Shdr, sh_size),
                                                       std::uint64_t{image_bytes - names + 1})},
                                 Corruption{"SectionOutside", "section 2 lies outside",
                                            in_section(2, offsetof(Elf64_Shdr, sh_offset),
                                                       std::uint64_t{image_bytes})},
                                 Corruption{"SectionSizeWraps", "section 2 lies outside",
                                            in_section(2, offsetof(Elf64_Shdr, sh_size), largest)}),
                         [](const auto& test_case) { return test_case.param.name; });

TEST(Elf, NeighboursDoNotOverlap) {
    auto bytes = good_image();
    put(bytes, program_header(0) + offsetof(Elf64_Phdr, p_paddr), first_address + first_memory_bytes);
    const auto image = parse_elf64(bytes);
    EXPECT_TRUE(image) << image.error().message();
}

TEST(Elf, NamesBeyondTheirTableAreEmpty) {
    auto bytes = good_image();
    put(bytes, section_header(2) + offsetof(Elf64_Shdr, sh_name), ~std::uint32_t{0});
    const auto image = parse_elf64(bytes);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->sections[1].name, "");
}

TEST(Elf, NamesAreCutSoThatManyOfThemStaySmall) {
    auto bytes = good_image();
    const auto strings = bytes.size();
    bytes.resize(strings + 1000, std::byte{'n'});
    put(bytes, section_header(1) + offsetof(Elf64_Shdr, sh_offset), std::uint64_t{strings});
    put(bytes, section_header(1) + offsetof(Elf64_Shdr, sh_size), std::uint64_t{1000});
    const auto image = parse_elf64(bytes);
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_EQ(image->sections[1].name, std::string(255, 'n'));
}

TEST(Elf, CodeIsWhereBytesOfTheFileAre) {
    const auto bytes = good_image();
    const auto image = parse_elf(bytes);
    ASSERT_TRUE(image);
    for (const auto& [address, has] :
         {std::pair{first_address - 1, false}, std::pair{first_address, true},
          std::pair{first_address + first_data_bytes - 1, true},
          std::pair{first_address + first_data_bytes, false},
          std::pair{second_address + second_data_bytes - 1, true}, std::pair{~std::uint64_t{0}, false}})
        EXPECT_EQ(image->has_code_at(address), has) << std::hex << address;
}

} // namespace
} // namespace nestbed::boot
