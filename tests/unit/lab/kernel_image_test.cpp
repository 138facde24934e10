#include "lab/kernel_image.hpp"

#include <span>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::lab {
namespace {

Result<std::string> release(const std::string& image) {
    return kernel_release(std::as_bytes(std::span{image.data(), image.size()}));
}

TEST(KernelRelease, IsTheFirstWordOfTheVersion) {
    const auto found = release(test::kernel_image("6.1.0-56-amd64 (debian-kernel) #1 SMP"));
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(*found, "6.1.0-56-amd64");
}

TEST(KernelRelease, RefusesWhatIsNone) {
    const auto good = test::kernel_image("6.1.0 x");
    auto no_version = good;
    no_version[0x20e] = no_version[0x20f] = '\0';
    auto far_version = good;
    far_version[0x20e] = far_version[0x20f] = '\xff';
    for (const auto& image : {std::string{}, std::string(0x20f, 'x'), std::string(0x1000, 'x'), no_version,
                              far_version, test::kernel_image(" x"), test::kernel_image(std::string(65, 'x')),
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

} // namespace
} // namespace nestbed::lab
