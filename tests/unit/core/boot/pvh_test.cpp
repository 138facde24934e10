#include "core/boot/pvh.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "foreign_files.hpp"
#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
using testing::HasSubstr;

constexpr std::uint64_t pvh_entry_address = elf_address + 8;

TEST(Pvh, IsEnteredWithItsStartInfo) {
    const ForeignGuest guest{pvh_elf()};
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->protocol, "PVH");
    EXPECT_EQ(boot->entry.mode, EntryMode::protected_mode);
    EXPECT_EQ(boot->entry.rip, pvh_entry_address);
    EXPECT_EQ(read(*boot, elf_address, 4097), std::string(4096, 'c') + '\0');
    EXPECT_EQ(read(*boot, elf_second, 32), std::string(32, 'd'));

    // start_info.h of Xen, by offset.
    const auto info = boot->entry.rbx;
    const auto u32 = [&](std::uint64_t offset) { return read<std::uint32_t>(*boot, info + offset); };
    const auto u64 = [&](std::uint64_t offset) { return read<std::uint64_t>(*boot, info + offset); };
    EXPECT_LT(info, 4 * GiB);
    EXPECT_EQ(u32(0), 0x336ec578U);
    EXPECT_EQ(u32(4), 1U) << "with a memory map";
    EXPECT_EQ(u32(12), 1U) << "modules";
    EXPECT_EQ(read<std::uint64_t>(*boot, u64(16)), acpi.address - 8192);
    EXPECT_EQ(read<std::uint64_t>(*boot, u64(16) + 8), guest.initrd.size());
    EXPECT_EQ(read(*boot, acpi.address - 8192, guest.initrd.size()), guest.initrd);
    EXPECT_EQ(read_text(*boot, u64(24)), guest.command_line);
    EXPECT_EQ(u64(32), acpi.address) << "RSDP";
    ASSERT_EQ(u32(48), guest.e820.size());
    for (std::size_t i = 0; i < guest.e820.size(); ++i) {
        EXPECT_EQ(read<std::uint64_t>(*boot, u64(40) + 24 * i), guest.e820[i].address);
        EXPECT_EQ(read<std::uint64_t>(*boot, u64(40) + 24 * i + 8), guest.e820[i].bytes);
        EXPECT_EQ(read<std::uint32_t>(*boot, u64(40) + 24 * i + 16),
                  static_cast<std::uint32_t>(guest.e820[i].type));
    }
}

TEST(Pvh, WithoutAnInitrdThereIsNoModule) {
    ForeignGuest guest{pvh_elf()};
    guest.initrd.clear();
    const auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(read<std::uint32_t>(*boot, boot->entry.rbx + 12), 0U);
    EXPECT_EQ(read<std::uint64_t>(*boot, boot->entry.rbx + 16), 0U);
}

TEST(Pvh, TheNoteMayHave4BytesAndTheImage32Bits) {
    for (const std::uint32_t bytes : {4U, 8U})
        for (const bool is_32 : {false, true}) {
            const ForeignGuest guest{pvh_elf(pvh_entry_address, bytes, is_32)};
            const auto boot = guest.load();
            ASSERT_TRUE(boot) << boot.error().message();
            EXPECT_EQ(boot->entry.rip, pvh_entry_address);
        }
}

// `payload` where a bzImage has its vmlinux.
std::string bzimage_around(const std::string& payload) {
    auto image = bzimage();
    put(image, 0x248, std::uint32_t{1000});
    put(image, 0x24c, static_cast<std::uint32_t>(payload.size()));
    return image.replace(bzimage_setup_bytes + 1000, payload.size(), payload);
}

TEST(Pvh, ABzImageIsStartedByItWhereAskedFor) {
    auto image = bzimage() + std::string(32768, 'p');
    const auto vmlinux = pvh_elf() + "size"; // not compressed at all, which decompression passes through
    put(image, 0x248, std::uint32_t{4096});
    put(image, 0x24c, static_cast<std::uint32_t>(vmlinux.size()));
    image.replace(bzimage_setup_bytes + 4096, vmlinux.size(), vmlinux);
    ForeignGuest guest{image};
    guest.protocol = BootProtocol::pvh;
    auto boot = guest.load();
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_EQ(boot->protocol, "PVH");
    const auto moved = std::move(*boot);
    EXPECT_EQ(read(moved, elf_second, 32), std::string(32, 'd')) << "pieces outlive a move";

    guest.image = bzimage_around("\x1f\x8b rubbish");
    EXPECT_FALSE(guest.load());
    guest.image = bzimage_around("rubbish that is no ELF");
    const auto refused = guest.load();
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("ELF"));
}

struct Corruption {
    std::string name;
    std::string complaint;
    std::string image;
    std::function<void(ForeignGuest&)> corrupt = [](ForeignGuest&) {};
};

class CorruptPvh : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptPvh, IsRefusedWithTheReason) {
    ForeignGuest guest{GetParam().image};
    guest.protocol = BootProtocol::pvh;
    GetParam().corrupt(guest);
    const auto boot = guest.load();
    ASSERT_FALSE(boot);
    EXPECT_EQ(boot.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(boot.error().message(), HasSubstr(GetParam().complaint));
}

template<typename T>
std::function<void(ForeignGuest&)> in_segment(std::size_t index, std::size_t offset, T value) {
    return [=](ForeignGuest& guest) {
        put(guest.image, elf64_header_bytes + index * elf64_program_bytes + offset, value);
    };
}
constexpr std::size_t p_paddr = 24;
constexpr std::size_t p_memsz = 40;

INSTANTIATE_TEST_SUITE_P(
    All, CorruptPvh,
    testing::Values(Corruption{"NoNote", "no Xen note PHYS32_ENTRY", multiboot_elf(false)},
                    Corruption{"EntryOutside", "entered at 0x101000, where it has no code",
                               pvh_elf(elf_address + 4096)},
                    Corruption{"EntryAt0", "entered at 0x0", pvh_elf(0)},
                    Corruption{"SegmentPastRam", "free RAM ends at 0x3ff0000", pvh_elf(),
                               in_segment(1, p_paddr, std::uint64_t{64 * MiB})},
                    Corruption{"SegmentInAcpi", "free RAM ends at 0x3ff0000; use a larger --memory",
                               pvh_elf(), in_segment(1, p_paddr, acpi.address)},
                    Corruption{"SegmentInTheBiosArea", "a segment of the image at 0xa0000", pvh_elf(),
                               in_segment(1, p_paddr, std::uint64_t{0xa0000})},
                    Corruption{"LargeSegment", "a segment of the image at 0x800000", pvh_elf(),
                               in_segment(1, p_memsz, std::uint64_t{GiB})},
                    Corruption{"Overlap", "overlap", pvh_elf(), in_segment(1, p_paddr, elf_address + 4096)},
                    Corruption{"LargeInitrd", "the initrd", pvh_elf(),
                               [](ForeignGuest& guest) { guest.initrd.assign(60 * MiB, 'i'); }},
                    Corruption{"LongCommandLine", "a command line of 2048 bytes", pvh_elf(),
                               [](ForeignGuest& guest) { guest.command_line.assign(2048, 'c'); }},
                    Corruption{"LargeMap", "a memory map of 129 entries", pvh_elf(),
                               [](ForeignGuest& guest) { guest.e820.resize(129); }}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Pvh, CutShortAnywhereIsRefused) {
    const auto whole = pvh_elf();
    for (std::size_t size = 0; size < whole.size(); ++size)
        ASSERT_FALSE(ForeignGuest{whole.substr(0, size)}.load()) << size;
}

} // namespace
} // namespace nestbed::boot
