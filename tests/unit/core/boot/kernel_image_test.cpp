#include "core/boot/kernel_image.hpp"

#include <span>
#include <string>

#include <gtest/gtest.h>

#include "core/boot/pvh.hpp"
#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::boot {
namespace {

Result<std::string> release(const std::string& image) {
    return kernel_release(std::as_bytes(std::span{image.data(), image.size()}));
}

TEST(KernelRelease, IsTheFirstWordOfTheVersion) {
    const auto found = release(nestbed::test::kernel_image("6.1.0-56-amd64 (debian-kernel) #1 SMP"));
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(*found, "6.1.0-56-amd64");
}

TEST(KernelRelease, RefusesWhatIsNone) {
    const auto good = nestbed::test::kernel_image("6.1.0 x");
    auto no_version = good;
    no_version[0x20e] = no_version[0x20f] = '\0';
    auto far_version = good;
    far_version[0x20e] = far_version[0x20f] = '\xff';
    for (const auto& image :
         {std::string{}, std::string(0x20f, 'x'), std::string(0x1000, 'x'), no_version, far_version,
          nestbed::test::kernel_image(" x"), nestbed::test::kernel_image(std::string(65, 'x')),
          good.substr(0, good.size() - 3)}) {
        const auto found = release(image);
        ASSERT_FALSE(found) << *found;
        EXPECT_EQ(found.error().kind, ErrorKind::bad_input);
    }
    EXPECT_NE(release("\x7f"
                      "ELF" +
                      std::string(0x300, '\0'))
                  .error()
                  .found.find("vmlinux"),
              std::string::npos);
}

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

TEST(CompressedVmlinux, IsWhereTheHeaderSays) {
    const auto found = [](const std::string& image) -> std::string {
        const auto part = compressed_vmlinux(bytes_of(image));
        return part ? std::string{reinterpret_cast<const char*>(part->data()), part->size()} : "refused";
    };
    EXPECT_EQ(found(nestbed::test::kernel_image_with("6.1.0 x", "payload+size")), "payload+")
        << "4 bytes are the size";
    EXPECT_EQ(found(nestbed::test::kernel_image_with("6.1.0 x", "\x1f\x8bgzip")), "\x1f\x8bgzip")
        << "its own";
    const auto good = nestbed::test::kernel_image_with("6.1.0 x", "payload+size");
    auto old = good;
    old[0x206] = '\x07';
    old[0x207] = '\x02';
    auto empty = good;
    empty[0x24c] = '\0';
    auto far = good;
    far[0x24b] = '\x7f';
    auto long_one = good;
    long_one[0x24f] = '\xff';
    for (const auto& image : {old, empty, far, long_one, std::string{}, std::string(0x24f, 'x'),
                              nestbed::test::kernel_image("6.1.0 x")})
        EXPECT_EQ(found(image), "refused");
}

TEST(HasPvhEntry, LooksForXensNote) {
    const auto good = nestbed::test::vmlinux_with_note("Xen", 18);
    EXPECT_EQ(pvh_entry(bytes_of(good)), 0x6565656565656565);
    EXPECT_FALSE(pvh_entry(bytes_of(nestbed::test::vmlinux_with_note("Xen", 17))));
    EXPECT_FALSE(pvh_entry(bytes_of(nestbed::test::vmlinux_with_note("Xem", 18))));
    for (std::size_t bytes = 0; bytes < good.size() - 8; ++bytes)
        EXPECT_FALSE(pvh_entry(bytes_of(good).first(bytes))) << bytes;
}

} // namespace
} // namespace nestbed::boot
