#include "core/boot/foreign_image.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "elf_image.hpp"
#include "foreign_files.hpp"

namespace nestbed::boot {
namespace {

using namespace test;
using testing::HasSubstr;
using namespace std::string_literals;

struct Look {
    std::string name;
    std::string image;
    std::string complaint; // or the protocol
};

class Looks : public testing::TestWithParam<Look> {};

TEST_P(Looks, DecideTheProtocolOrTheError) {
    const auto boot = ForeignGuest{GetParam().image}.load();
    if (boot) {
        EXPECT_THAT(boot->protocol, HasSubstr(GetParam().complaint));
        return;
    }
    EXPECT_EQ(boot.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(boot.error().message(), HasSubstr(GetParam().complaint));
    EXPECT_FALSE(boot.error().remedy.empty());
}

// An ELF64 whose second section is our own payload's.
std::string own_payload() {
    const auto bytes = good_image();
    std::string image{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    image += "\0.nestbed.info\0.names\0"s;
    put(image, section_header(1) + 24, std::uint64_t{bytes.size()});
    put(image, section_header(1) + 32, std::uint64_t{22});
    put(image, section_header(2), std::uint32_t{1});
    return image;
}

std::string at(std::size_t offset, const std::string& magic) {
    return std::string(offset, 'x') + magic + std::string(100, 'x');
}

INSTANTIATE_TEST_SUITE_P(
    All, Looks,
    testing::Values(
        Look{"BzImage", bzimage(), "Linux 64-bit boot protocol 2.15"}, Look{"Pvh", pvh_elf(), "PVH"},
        Look{"Pvh32", pvh_elf(elf_address, 4, true), "PVH"},
        Look{"MultibootElf", multiboot_elf(true), "multiboot"},
        Look{"MultibootFlat", multiboot_flat(), "multiboot"}, Look{"Empty", "", "it is empty"},
        Look{"OwnPayload", own_payload(), "a payload of nestbed's own"},
        Look{"OtherElf", elf(false),
             "neither a multiboot header nor a Xen note PHYS32_ENTRY; use a kernel with"},
        Look{"Multiboot2", at(16, "\xd6\x50\x52\xe8"), "multiboot 2"},
        Look{"Multiboot2Unaligned", at(12, "\xd6\x50\x52\xe8"), "nothing known"},
        Look{"EfiZboot", at(0, "MZ\0\0zimg"s), "an EFI zboot image"},
        Look{"Efi", at(0, "MZ\x90"), "PE image"},
        Look{"Gzip", at(0, "\x1f\x8b\x08"), "gzip; decompress it first"},
        Look{"Xz",
             at(0, "\xfd"
                   "7zXZ\0"s),
             "compressed with xz"},
        Look{"Zstd", at(0, "\x28\xb5\x2f\xfd"), "compressed with zstd"},
        Look{"Bzip2", at(0, "BZh9"), "compressed with bzip2"},
        Look{"Lz4", at(0, "\x02\x21\x4c\x18"), "compressed with lz4"},
        Look{"Cpio", at(0, "070701"), "a cpio archive; give an initramfs with --initrd"},
        Look{"Qcow2", at(0, "QFI\xfb"), "a qcow2 disk"}, Look{"Deb", at(0, "!<arch>\n"), "a Debian package"},
        Look{"Script", at(0, "#!/bin/sh"), "a script"}, Look{"Iso", at(0x8001, "CD001"), "an ISO 9660 disk"},
        Look{"BootSector", at(510, "\x55\xaa"), "a boot sector"},
        Look{"OneByte", "\x7f", "1 bytes that are nothing known, starting with 7f; name a bzImage"},
        Look{"Text", "hello\n", "starting with 68 65 6c 6c 6f 0a"}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(ForeignImage, AProtocolThatTheImageDoesNotSpeakIsRefused) {
    struct Case {
        std::string image;
        BootProtocol protocol;
        std::string complaint;
    };
    for (const auto& [image, protocol, complaint] :
         {Case{bzimage(), BootProtocol::multiboot, "no multiboot header"},
          Case{multiboot_elf(true), BootProtocol::linux64, "no \"HdrS\" at 0x202"},
          Case{multiboot_elf(true), BootProtocol::pvh, "no Xen note"},
          Case{pvh_elf(), BootProtocol::multiboot, "no multiboot header"},
          Case{pvh_elf(), BootProtocol::linux64, "no \"HdrS\""},
          Case{"", BootProtocol::pvh, "it is empty"}}) {
        ForeignGuest guest{image};
        guest.protocol = protocol;
        const auto boot = guest.load();
        ASSERT_FALSE(boot);
        EXPECT_THAT(boot.error().message(), HasSubstr(complaint));
    }
}

TEST(ForeignImage, AnyByteOfItsHeadersMayBeAnything) {
    for (const auto& whole :
         {bzimage(), pvh_elf(), multiboot_elf(true), multiboot_elf(false), multiboot_flat()}) {
        ForeignGuest guest{whole};
        std::size_t loaded = 0;
        for (std::size_t i = 0; i < 700; ++i) {
            for (const char value : {'\0', '\1', '\x10', '\x7f', '\x80', '\xff'}) {
                guest.image[i] = value;
                const auto boot = guest.load();
                if (!boot) {
                    ASSERT_EQ(boot.error().kind, ErrorKind::bad_input) << i << ' ' << boot.error().message();
                    continue;
                }
                ++loaded;
                ASSERT_TRUE(check_foreign(*boot, guest.input())) << i;
            }
            guest.image[i] = whole[i];
        }
        EXPECT_GT(loaded, 700U);
    }
}

// What load_foreign() makes, with one thing wrong with it.
TEST(CheckForeign, SeesADefectOfALoader) {
    const ForeignGuest guest{bzimage()};
    const auto complaint = [&](const std::function<void(ForeignBoot&)>& spoil) {
        auto boot = guest.load();
        spoil(*boot);
        const auto good = check_foreign(*boot, guest.input());
        EXPECT_TRUE(good || good.error().kind == ErrorKind::check_failed);
        return good ? "none" : good.error().found;
    };
    EXPECT_EQ(complaint([](ForeignBoot&) {}), "none");
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.pieces.push_back(boot.pieces[0]); }),
                HasSubstr("overlap"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.pieces[0].address += bzimage_memory; }),
                HasSubstr("never taken"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.pieces[0].address -= 1; }), HasSubstr("never taken"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.taken.erase(boot.taken.begin()); }),
                HasSubstr("never taken"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.taken.push_back(boot.taken[0]); }),
                HasSubstr("overlap or are no usable RAM"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.taken.back().bytes = 64 * KiB; }),
                HasSubstr("no usable RAM"));
    EXPECT_THAT(complaint([](ForeignBoot& boot) { boot.entry.rip += 4096; }),
                HasSubstr("nothing lies at the entry"));
}

} // namespace
} // namespace nestbed::boot
