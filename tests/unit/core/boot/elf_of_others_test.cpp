// ELF images that are not our payload.
#include <span>
#include <string>

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/boot/elf.hpp"
#include "foreign_files.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
using testing::HasSubstr;

// The classes differ in where fields are, and in nothing else.
TEST(ElfOfOthers, HasSegmentsAndNotesInBothClasses) {
    for (const bool is_32 : {false, true}) {
        const auto file = pvh_elf(0x1234, 4, is_32);
        const auto image = parse_elf(std::as_bytes(std::span{file}));
        ASSERT_TRUE(image) << image.error().message();
        const std::uint64_t offset = is_32 ? 0xc000'0000 : 0xffff'ffff'8000'0000;
        EXPECT_EQ(image->entry, offset + elf_address);
        ASSERT_EQ(image->segments.size(), 2U);
        EXPECT_EQ(image->segments[0].address, elf_address);
        EXPECT_EQ(image->segments[0].virtual_address, offset + elf_address);
        EXPECT_EQ(image->segments[0].memory_bytes, elf_memory);
        EXPECT_EQ(image->segments[0].data.size(), 4096U);
        EXPECT_EQ(image->segments[1].address, elf_second);
        EXPECT_EQ(image->segments[1].data.size(), 32U);
        EXPECT_EQ(image->segments[1].data.front(), std::byte{'d'});
        ASSERT_EQ(image->notes.size(), 1U);
        EXPECT_EQ(image->notes[0].size(), 20U);
        EXPECT_TRUE(image->sections.empty());
        EXPECT_EQ(parse_elf64(std::as_bytes(std::span{file})).has_value(), !is_32);
    }
}

TEST(ElfOfOthers, RefusesWhatNoX86ProcessorRuns) {
    struct Case {
        std::size_t offset;
        std::uint16_t value;
        std::string complaint;
    };
    for (const bool is_32 : {false, true})
        for (const auto& [offset, value, complaint] :
             {Case{16, ET_DYN, "type 3"}, Case{18, EM_ARM, is_32 ? "neither ELF32 for i386" : "x86-64"},
              Case{18, is_32 ? std::uint16_t{EM_X86_64} : std::uint16_t{EM_386}, "x86-64"},
              Case{EI_DATA, ELFDATA2MSB, "x86-64"}, Case{is_32 ? 42U : 54U, 31, "table entries"},
              Case{is_32 ? 44U : 56U, 0, "nothing to load"},
              Case{is_32 ? 44U : 56U, 0xffff, "outside the file"}}) {
            auto file = elf(is_32);
            put(file, offset, value);
            const auto image = parse_elf(std::as_bytes(std::span{file}));
            ASSERT_FALSE(image) << offset;
            EXPECT_THAT(image.error().found, HasSubstr(complaint)) << is_32;
        }
}

} // namespace
} // namespace nestbed::boot
