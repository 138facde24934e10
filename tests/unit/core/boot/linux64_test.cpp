#include "core/boot/linux64.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "foreign_files.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
namespace field = bzimage_field;
using testing::HasSubstr;

// Offsets in boot_params (Documentation/arch/x86/zero-page.rst).
constexpr std::uint64_t acpi_rsdp_addr = 0x70;
constexpr std::uint64_t ext_ramdisk_image = 0xc0;
constexpr std::uint64_t ext_ramdisk_size = 0xc4;
constexpr std::uint64_t e820_entries = 0x1e8;
constexpr std::uint64_t e820_table = 0x2d0;

TEST(Linux64, IsEnteredAsTheProtocolSays) {
    const ForeignGuest guest{bzimage()};
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->protocol, "Linux 64-bit boot protocol 2.15");
    EXPECT_EQ(boot->entry.mode, EntryMode::long_mode);
    EXPECT_EQ(boot->entry.rip, bzimage_address + 0x200) << "startup_64";
    EXPECT_EQ(read(*boot, bzimage_address, 4096), std::string(4096, 'k'));
    EXPECT_EQ(read(*boot, bzimage_address + 4096, 1), std::string(1, '\0'))
        << "the file is longer than its code";

    EXPECT_EQ(boot->entry.code_selector, 0x10) << "__BOOT_CS";
    EXPECT_EQ(boot->entry.data_selector, 0x18) << "__BOOT_DS";
    ASSERT_EQ(boot->entry.gdt.bytes, 32U);
    EXPECT_EQ(read<std::uint64_t>(*boot, boot->entry.gdt.address + 0x10), 0x00af'9b00'0000'ffffU)
        << "64-bit code, execute/read, 4 GiB (SDM volume 3, 3.4.5)";
    EXPECT_EQ(read<std::uint64_t>(*boot, boot->entry.gdt.address + 0x18), 0x00cf'9300'0000'ffffU)
        << "data, read/write, 4 GiB";
}

TEST(Linux64, ZeroPageHasTheHeaderAndWhatTheLoaderAdds) {
    ForeignGuest guest{bzimage()};
    guest.image[0x26b] = 'H'; // the last byte of the header, and one after it
    guest.image[0x26c] = 'X';
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    const auto page = boot->entry.rsi;
    const auto u32 = [&](std::uint64_t offset) { return read<std::uint32_t>(*boot, page + offset); };
    EXPECT_EQ(page % 4096, 0U);
    EXPECT_EQ(read(*boot, page + field::magic, 4), "HdrS");
    EXPECT_EQ(u32(field::init_size), bzimage_memory);
    EXPECT_EQ(read(*boot, page + 0x26b, 2), std::string("H\0", 2)) << "up to its end and no further";
    EXPECT_EQ(read<std::uint8_t>(*boot, page + field::type_of_loader), 0xff);
    EXPECT_EQ(read<std::uint64_t>(*boot, page + acpi_rsdp_addr), acpi.address);
    EXPECT_EQ(read_text(*boot, u32(field::cmd_line_ptr)), guest.command_line);
    EXPECT_EQ(u32(field::ramdisk_size), guest.initrd.size());
    EXPECT_EQ(u32(ext_ramdisk_image), 0U);
    EXPECT_EQ(u32(ext_ramdisk_size), 0U);
    EXPECT_EQ(read(*boot, u32(field::ramdisk_image), guest.initrd.size()), guest.initrd);
    EXPECT_EQ(u32(field::ramdisk_image), acpi.address - 8192) << "page-aligned, as high as it goes";
    EXPECT_EQ(read<std::uint64_t>(*boot, page + field::setup_data), 0U);

    ASSERT_EQ(read<std::uint8_t>(*boot, page + e820_entries), guest.e820.size());
    for (std::size_t i = 0; i < guest.e820.size(); ++i) {
        EXPECT_EQ(read<std::uint64_t>(*boot, page + e820_table + 20 * i), guest.e820[i].address);
        EXPECT_EQ(read<std::uint64_t>(*boot, page + e820_table + 20 * i + 8), guest.e820[i].bytes);
        EXPECT_EQ(u32(e820_table + 20 * i + 16), static_cast<std::uint32_t>(guest.e820[i].type));
    }
}

TEST(Linux64, WithoutAnInitrdThereIsNone) {
    ForeignGuest guest{bzimage()};
    guest.initrd.clear();
    guest.rsdp = 0;
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    for (const auto offset : {field::ramdisk_image, field::ramdisk_size, acpi_rsdp_addr})
        EXPECT_EQ(read<std::uint32_t>(*boot, boot->entry.rsi + offset), 0U) << offset;
}

TEST(Linux64, FirstFourGibAreMappedToThemselves) {
    const ForeignGuest guest{bzimage()};
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    const auto entry = [&](std::uint64_t table, std::uint64_t index) {
        return read<std::uint64_t>(*boot, (table & ~std::uint64_t{0xfff}) + index * 8);
    };
    for (const auto address : {std::uint64_t{0}, boot->entry.rsi, boot->entry.rip,
                               bzimage_address + bzimage_memory, 4 * GiB - 1}) {
        const auto pdpt = entry(boot->entry.cr3, address >> 39);
        const auto directory = entry(pdpt, address >> 30 & 511);
        const auto page = entry(directory, address >> 21 & 511);
        EXPECT_EQ(pdpt & directory & page & 3U, 3U) << "present, writable";
        EXPECT_EQ(page & 0x80U, 0x80U) << "2 MiB";
        EXPECT_EQ(page & ~std::uint64_t{0x1f'ffff}, address & ~std::uint64_t{0x1f'ffff});
    }
}

TEST(Linux64, AMapOfMoreThan128EntriesGoesOnInSetupData) {
    for (const std::size_t extra : {std::size_t{0}, std::size_t{1}, std::size_t{900}}) {
        ForeignGuest guest{bzimage()};
        std::vector<Extent> tables;
        while (e820_map(guest.ram, tables).size() < 128 + extra)
            tables.push_back({40 * MiB + tables.size() * 8192, 4096});
        guest.e820 = e820_map(guest.ram, tables);
        if (guest.e820.size() > 128 + extra)
            guest.e820.pop_back();
        const auto boot = guest.load();
        ASSERT_TRUE(boot) << boot.error().message();
        EXPECT_EQ(read<std::uint8_t>(*boot, boot->entry.rsi + e820_entries), 128U);
        const auto data = read<std::uint64_t>(*boot, boot->entry.rsi + field::setup_data);
        ASSERT_EQ(data != 0, extra != 0);
        if (extra == 0)
            continue;
        EXPECT_EQ(read<std::uint64_t>(*boot, data), 0U) << "the last of its list";
        EXPECT_EQ(read<std::uint32_t>(*boot, data + 8), 1U) << "SETUP_E820_EXT";
        ASSERT_EQ(read<std::uint32_t>(*boot, data + 12), 20 * extra);
        for (std::size_t i = 0; i < extra; ++i) {
            EXPECT_EQ(read<std::uint64_t>(*boot, data + 16 + 20 * i), guest.e820[128 + i].address);
            EXPECT_EQ(read<std::uint64_t>(*boot, data + 16 + 20 * i + 8), guest.e820[128 + i].bytes);
            EXPECT_EQ(read<std::uint32_t>(*boot, data + 16 + 20 * i + 16),
                      static_cast<std::uint32_t>(guest.e820[128 + i].type));
        }
    }
}

TEST(Linux64, IsMovedWhereItsPlaceIsTakenIfItCanBe) {
    ForeignGuest guest{bzimage()};
    guest.e820 = e820_map(guest.ram, std::vector<Extent>{{bzimage_address + MiB, 4096}});
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->entry.rip, 18 * MiB + 0x200) << "the next multiple of its alignment";

    put(guest.image, field::relocatable_kernel, std::uint8_t{0});
    const auto fixed = guest.load();
    ASSERT_FALSE(fixed);
    EXPECT_THAT(fixed.error().message(), HasSubstr("the kernel at 0x1000000 to 0x17fffff"));
}

TEST(Linux64, InitrdStaysBelowItsLimitUnlessTheKernelKnowsBetter) {
    ForeignGuest guest{bzimage()};
    guest.initrd.assign(8 * MiB, 'i');
    put(guest.image, field::initrd_addr_max, std::uint32_t{16 * MiB - 1});
    const auto below = guest.load();
    ASSERT_TRUE(below) << below.error().message();
    EXPECT_EQ(read<std::uint32_t>(*below, below->entry.rsi + field::ramdisk_image), 8 * MiB);

    guest.initrd.assign(16 * MiB, 'i');
    const auto above = guest.load();
    ASSERT_TRUE(above) << above.error().message();
    EXPECT_EQ(read<std::uint32_t>(*above, above->entry.rsi + field::ramdisk_image), acpi.address - 16 * MiB);

    put(guest.image, field::xloadflags, std::uint16_t{1});
    const auto refused = guest.load();
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("the initrd (16 MiB)"));
    EXPECT_THAT(refused.error().message(), HasSubstr("at 0x100000 to 0xffffff has 15 MiB"));
}

TEST(Linux64, AnInitrdAbove4GibHasBothHalvesOfItsAddress) {
    ForeignGuest guest{bzimage()};
    guest.ram = {{0, 32 * MiB, 0}, {hole_end, GiB, 1}};
    guest.e820 = e820_map(guest.ram, {});
    guest.initrd.assign(40 * MiB, 'i');
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(read<std::uint32_t>(*boot, boot->entry.rsi + ext_ramdisk_image), 1U);
    EXPECT_EQ(read<std::uint32_t>(*boot, boot->entry.rsi + field::ramdisk_image), GiB - 40 * MiB);
}

struct Corruption {
    std::string name;
    std::string complaint;
    std::function<void(ForeignGuest&)> corrupt;
};

class CorruptBzImage : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptBzImage, IsRefusedWithTheReason) {
    ForeignGuest guest{bzimage()};
    GetParam().corrupt(guest);
    const auto boot = guest.load();
    ASSERT_FALSE(boot);
    EXPECT_EQ(boot.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(boot.error().message(), HasSubstr(GetParam().complaint));
}

template<typename T>
std::function<void(ForeignGuest&)> with(std::size_t offset, T value) {
    return [=](ForeignGuest& guest) { put(guest.image, offset, value); };
}
std::function<void(ForeignGuest&)> cut_to(std::size_t bytes) {
    return [=](ForeignGuest& guest) { guest.image.resize(bytes); };
}

INSTANTIATE_TEST_SUITE_P(
    All, CorruptBzImage,
    testing::Values(
        Corruption{"OldProtocol", "boot protocol 2.11, 2.12 is the oldest",
                   with(field::version, std::uint16_t{0x20b})},
        Corruption{"ShortHeader", "its header ends at 0x263", with(field::jump, std::uint8_t{0x61})},
        Corruption{"LongHeader", "its header ends at 0x291", with(field::jump, std::uint8_t{0x8f})},
        Corruption{"ThirtyTwoBits", "32-bit kernel", with(field::xloadflags, std::uint16_t{2})},
        Corruption{"NoCode", "its code has 0 bytes", with(field::syssize, std::uint32_t{0})},
        Corruption{"NoEntry", "its code has 512 bytes", with(field::syssize, std::uint32_t{0x20})},
        Corruption{"SizePastTheEnd", "is to have 2560 and 4112", with(field::syssize, std::uint32_t{257})},
        Corruption{"HugeSize", "and 68719476720", with(field::syssize, ~std::uint32_t{0})},
        Corruption{"SectorsPastTheEnd", "6656 bytes, and it is to have 131072",
                   with(field::setup_sects, std::uint8_t{255})},
        Corruption{"CutInTheHeader", "700 bytes, and it is to have", cut_to(700)},
        Corruption{"CutBeforeTheHeadersEnd", "526 bytes, and the header alone", cut_to(526)},
        Corruption{"CutByOneUnit", "the file is cut short", cut_to(6640)},
        Corruption{"OddAlignment", "0x300000, no power of two",
                   with(field::kernel_alignment, std::uint32_t{3 * MiB})},
        Corruption{"NoAlignment", "no power of two", with(field::kernel_alignment, std::uint32_t{0})},
        Corruption{"TooLargeToUnpack", "the kernel, unpacked (1 GiB)",
                   with(field::init_size, std::uint32_t{GiB})},
        Corruption{"FarAway", "the largest stretch of RAM that is free",
                   with(field::pref_address, std::uint64_t{GiB})},
        Corruption{"Above4Gib", "above 4 GiB",
                   [](ForeignGuest& guest) {
                       put(guest.image, field::relocatable_kernel, std::uint8_t{0});
                       put(guest.image, field::pref_address, ~std::uint64_t{0} - 4096);
                   }},
        Corruption{"NotMovableOverTheBios", "not all of that is usable RAM",
                   [](ForeignGuest& guest) {
                       put(guest.image, field::relocatable_kernel, std::uint8_t{0});
                       put(guest.image, field::pref_address, std::uint64_t{0x10000});
                   }},
        Corruption{"NotMovableOverAcpi",
                   "the kernel at 0x3800000 to 0x3ffffff: not all of that is usable RAM",
                   [](ForeignGuest& guest) {
                       put(guest.image, field::relocatable_kernel, std::uint8_t{0});
                       put(guest.image, field::pref_address, ram_bytes - bzimage_memory);
                       guest.e820 = e820_map(guest.ram, std::vector<Extent>{{60 * MiB, 4096}});
                   }},
        Corruption{"LongCommandLine", "a command line of 2048 bytes, and it takes 2047",
                   [](ForeignGuest& guest) { guest.command_line.assign(2048, 'c'); }},
        Corruption{"NulInTheCommandLine", "there is a NUL in it",
                   [](ForeignGuest& guest) { guest.command_line[3] = '\0'; }},
        Corruption{"LargeInitrd", "the initrd (64 MiB)",
                   [](ForeignGuest& guest) { guest.initrd.assign(64 * MiB, 'i'); }},
        Corruption{"NoRam", "the largest stretch of RAM that is free at 0x1000000 to 0xffffffff has 0 B",
                   [](ForeignGuest& guest) { guest.ram.clear(); }}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Linux64, LimitsAreReached) {
    ForeignGuest guest{bzimage()};
    guest.command_line.assign(2047, 'c');
    guest.image.resize(guest.image.size() - 15); // the size is in units of 16 bytes
    put(guest.image, field::jump, std::uint8_t{0x8e});
    EXPECT_TRUE(guest.load()) << guest.load().error().message();
    put(guest.image, field::jump, std::uint8_t{0x62});
    EXPECT_TRUE(guest.load()) << guest.load().error().message();
}

} // namespace
} // namespace nestbed::boot
