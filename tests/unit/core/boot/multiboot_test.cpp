#include "core/boot/multiboot.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "foreign_files.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
using testing::HasSubstr;

// Multiboot Specification, 3.3 "Boot information format", by offset.
constexpr std::uint64_t mem_lower = 4;
constexpr std::uint64_t mem_upper = 8;
constexpr std::uint64_t cmdline = 16;
constexpr std::uint64_t mods_count = 20;
constexpr std::uint64_t mods_addr = 24;
constexpr std::uint64_t mmap_length = 44;
constexpr std::uint64_t mmap_addr = 48;

TEST(Multiboot, IsEnteredWithItsInformation) {
    for (const bool is_32 : {true, false}) {
        const ForeignGuest guest{multiboot_elf(is_32)};
        const auto boot = guest.load();
        ASSERT_TRUE(boot) << boot.error().message();
        EXPECT_EQ(boot->protocol, "multiboot");
        EXPECT_EQ(boot->entry.mode, EntryMode::protected_mode);
        EXPECT_EQ(boot->entry.rip, elf_address) << "the entry is virtual in this image";
        EXPECT_EQ(boot->entry.rax, 0x2bad'b002U);
        EXPECT_EQ(read(*boot, elf_address, 12), multiboot_header(3));
        EXPECT_EQ(read(*boot, elf_second, 32), std::string(32, 'd'));

        const auto u32 = [&](std::uint64_t offset) {
            return read<std::uint32_t>(*boot, boot->entry.rbx + offset);
        };
        EXPECT_EQ(u32(0), 1U << 0 | 1U << 2 | 1U << 3 | 1U << 6 | 1U << 9);
        EXPECT_EQ(u32(mem_lower), 639U) << "KiB below the extended BIOS data area";
        EXPECT_EQ(u32(mem_upper), 63U * 1024 - 64) << "KiB from 1 MiB to the ACPI tables";
        EXPECT_EQ(read_text(*boot, u32(cmdline)), "x86/image.flat " + guest.command_line);
        ASSERT_EQ(u32(mods_count), 1U);
        const auto start = read<std::uint32_t>(*boot, u32(mods_addr));
        EXPECT_EQ(start % 4096, 0U);
        EXPECT_EQ(read<std::uint32_t>(*boot, u32(mods_addr) + 4) - start, guest.initrd.size());
        EXPECT_EQ(read(*boot, start, guest.initrd.size()), guest.initrd);
        ASSERT_EQ(u32(mmap_length), 24 * guest.e820.size());
        for (std::size_t i = 0; i < guest.e820.size(); ++i) {
            const auto entry = u32(mmap_addr) + 24 * i;
            EXPECT_EQ(read<std::uint32_t>(*boot, entry), 20U) << "of what follows";
            EXPECT_EQ(read<std::uint64_t>(*boot, entry + 4), guest.e820[i].address);
            EXPECT_EQ(read<std::uint64_t>(*boot, entry + 12), guest.e820[i].bytes);
            EXPECT_EQ(read<std::uint32_t>(*boot, entry + 20), static_cast<std::uint32_t>(guest.e820[i].type));
        }
        for (const auto& extent : boot->taken) {
            if (extent.address >= MiB)
                continue;
            EXPECT_GE(extent.address, 0x1000U);
            EXPECT_LE(extent.address + extent.bytes, 0x9fc00U);
        }
        EXPECT_LT(start, 0x9fc00U) << "a small module lies low too";
    }
}

TEST(Multiboot, TheFirstWordOfTheCommandLineIsTheImage) {
    struct Case {
        std::string name, append, whole;
    };
    for (const auto& [name, append, whole] :
         {Case{"svm.flat", "-a b", "svm.flat -a b"}, Case{"svm.flat", "", "svm.flat"},
          Case{"", "x", "image x"}, Case{"my images/svm", "x", "my_images/svm x"}}) {
        const ForeignGuest guest{multiboot_elf(true)};
        auto input = guest.input();
        input.image_name = name;
        input.command_line = append;
        const auto boot = load_foreign(input);
        ASSERT_TRUE(boot) << boot.error().message();
        EXPECT_EQ(read_text(*boot, read<std::uint32_t>(*boot, boot->entry.rbx + cmdline)), whole);
    }
}

TEST(Multiboot, ALargeModuleLiesHigh) {
    ForeignGuest guest{multiboot_elf(true)};
    guest.initrd.assign(MiB, 'i');
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    const auto list = read<std::uint32_t>(*boot, boot->entry.rbx + mods_addr);
    EXPECT_EQ(read<std::uint32_t>(*boot, list), acpi.address - MiB);
    EXPECT_EQ(read<std::uint32_t>(*boot, list + 4), acpi.address);
}

TEST(Multiboot, APhysicalEntryIsTakenAsItIs) {
    for (const bool is_32 : {true, false}) {
        ForeignGuest guest{multiboot_elf(is_32)};
        if (is_32)
            put(guest.image, 24, static_cast<std::uint32_t>(elf_second + 4));
        else
            put(guest.image, 24, std::uint64_t{elf_second + 4});
        const auto boot = guest.load();
        ASSERT_TRUE(boot) << boot.error().message();
        EXPECT_EQ(boot->entry.rip, elf_second + 4);
    }
}

TEST(Multiboot, AddressFieldsSayWhereAFlatImageGoes) {
    ForeignGuest guest{multiboot_flat()};
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->entry.rip, flat_address + 82);
    EXPECT_EQ(read(*boot, flat_address, 3000), guest.image.substr(50) + std::string(50, '\0'));
    const auto has = [&](std::uint64_t address, std::uint64_t bytes) {
        return std::ranges::any_of(boot->taken, [&](const Extent& extent) {
            return extent.address == address && extent.bytes == bytes;
        });
    };
    EXPECT_TRUE(has(flat_address, 0x1'0000)) << "with its bss";

    put(guest.image, flat_header + 20, flat_address + 100); // load_end_addr
    put(guest.image, flat_header + 24, std::uint32_t{0});   // bss_end_addr
    const auto shorter = guest.load();
    ASSERT_TRUE(shorter) << shorter.error().message();
    EXPECT_EQ(read(*shorter, flat_address, 101), guest.image.substr(50, 100) + '\0');
}

TEST(Multiboot, AddressFieldsComeBeforeElfHeaders) {
    auto image = elf(true, multiboot_header(0x1'0000) + std::string(20, '\0'));
    const auto at = static_cast<std::uint32_t>(image.find(multiboot_header(0x1'0000)));
    put(image, at + 12, flat_address + at);
    put(image, at + 16, flat_address);
    put(image, at + 28, flat_address);
    const ForeignGuest guest{image};
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->entry.rip, flat_address);
    EXPECT_EQ(read(*boot, flat_address, 4), "\x7f"
                                            "ELF");
}

TEST(Multiboot, TheHeaderIsLookedForWhereItMayBe) {
    const auto found_at = [](std::size_t offset, std::size_t after) {
        const auto image = std::string(offset, 'x') + multiboot_header(0) + std::string(after, 'x');
        const auto found = find_multiboot_header(std::as_bytes(std::span{image}));
        return found ? std::optional{found->offset} : std::nullopt;
    };
    EXPECT_EQ(found_at(0, 0), 0U);
    EXPECT_EQ(found_at(4, 100), 4U);
    EXPECT_EQ(found_at(8180, 0), 8180U) << "the last 12 of 8192 bytes";
    EXPECT_EQ(found_at(8184, 100), std::nullopt);
    EXPECT_EQ(found_at(2, 100), std::nullopt);
    auto image = multiboot_header(3);
    image[8] = static_cast<char>(image[8] + 1);
    EXPECT_FALSE(find_multiboot_header(std::as_bytes(std::span{image}))) << "its checksum is wrong";
}

struct Corruption {
    std::string name;
    std::string complaint;
    std::string image;
    std::function<void(ForeignGuest&)> corrupt = [](ForeignGuest&) {};
};

class CorruptMultiboot : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptMultiboot, IsRefusedWithTheReason) {
    ForeignGuest guest{GetParam().image};
    guest.protocol = BootProtocol::multiboot;
    GetParam().corrupt(guest);
    const auto boot = guest.load();
    ASSERT_FALSE(boot);
    EXPECT_EQ(boot.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(boot.error().message(), HasSubstr(GetParam().complaint));
}

// header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr by number.
std::function<void(ForeignGuest&)> address_field(std::size_t number, std::uint32_t value) {
    return [=](ForeignGuest& guest) { put(guest.image, flat_header + 12 + 4 * number, value); };
}
std::function<void(ForeignGuest&)> in_elf32(std::size_t offset, std::uint32_t value) {
    return [=](ForeignGuest& guest) { put(guest.image, offset, value); };
}
constexpr std::size_t second = elf32_header_bytes + elf32_program_bytes;

INSTANTIATE_TEST_SUITE_P(
    All, CorruptMultiboot,
    testing::Values(
        Corruption{"VideoMode", "flags 0x4, a video mode", multiboot_elf(true, 7)},
        Corruption{"UnknownFlag", "flags 0x8000", multiboot_elf(true, 0x8000)},
        Corruption{"NeitherElfNorAddresses", "no ELF magic", multiboot_header(0) + std::string(100, 'x')},
        Corruption{"NoHeader", "no multiboot header", pvh_elf()},
        Corruption{"EntryOutside", "its entry 0x500000", multiboot_elf(true), in_elf32(24, 0x50'0000)},
        Corruption{"EntryInTheBss", "its entry 0x101000", multiboot_elf(true), in_elf32(24, 0x10'1000)},
        Corruption{"SegmentPastRam", "free RAM ends at", multiboot_elf(true),
                   in_elf32(second + 12, 0xffff'fff0)},
        Corruption{"SegmentInTheBiosArea", "not all of that is usable RAM", multiboot_elf(true),
                   in_elf32(second + 12, 0xf0000)},
        Corruption{"Overlap", "overlap", multiboot_elf(true), in_elf32(second + 12, 0x10'1000)},
        Corruption{"SegmentOutsideTheFile", "segment 1 lies outside the file", multiboot_elf(true),
                   in_elf32(second + 4, 0xffff'ffff)},
        Corruption{"LowMemoryIsFull", "place the command line", multiboot_elf(true),
                   [](ForeignGuest& guest) {
                       put(guest.image, second + 12, std::uint32_t{0});
                       put(guest.image, second + 20, std::uint32_t{0x9fc00});
                   }},
        Corruption{"FlatCutInItsFields", "ends within the address fields", multiboot_flat().substr(0, 131)},
        Corruption{"FlatHeaderBelowItsStart", "is to lie at 0x1fffff", multiboot_flat(),
                   address_field(0, flat_address - 1)},
        Corruption{"FlatStartBeforeTheFile", "0x64 bytes into the file", multiboot_flat(),
                   address_field(0, flat_address + 101)},
        Corruption{"FlatEndPastTheFile", "the file has 0xb86 bytes", multiboot_flat(),
                   address_field(2, flat_address + 2951)},
        Corruption{"FlatEndBeforeItsStart", "to be loaded from 0x200000 to 0x1fffff", multiboot_flat(),
                   address_field(2, flat_address - 1)},
        Corruption{"FlatBssEndsInItsData", "its bss ends at 0x200010", multiboot_flat(),
                   address_field(3, flat_address + 16)},
        Corruption{"FlatBssPastRam", "free RAM ends at", multiboot_flat(), address_field(3, 0xffff'ffff)},
        Corruption{"FlatEntryBefore", "its entry 0x1fffff", multiboot_flat(),
                   address_field(4, flat_address - 1)},
        Corruption{"FlatEntryAfter", "its entry 0x200b86", multiboot_flat(),
                   address_field(4, flat_address + 2950)},
        Corruption{"LargeModule", "place the module", multiboot_elf(true),
                   [](ForeignGuest& guest) { guest.initrd.assign(60 * MiB, 'i'); }},
        Corruption{"LongCommandLine", "place the command line", multiboot_elf(true),
                   [](ForeignGuest& guest) { guest.command_line.assign(MiB, 'c'); }}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Multiboot, CutShortAnywhereIsRefused) {
    const auto whole = multiboot_elf(true);
    for (std::size_t size = 0; size < whole.size(); ++size)
        ASSERT_FALSE(ForeignGuest{whole.substr(0, size)}.load()) << size;
}

} // namespace
} // namespace nestbed::boot
