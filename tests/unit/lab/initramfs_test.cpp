#include "lab/initramfs.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "lab/modules.hpp"

namespace nestbed::lab {
namespace {

const ArchiveFile* find(const std::vector<ArchiveFile>& files, const std::string& path) {
    const auto found = std::ranges::find(files, path, &ArchiveFile::path);
    return found == files.end() ? nullptr : &*found;
}

TEST(InstalledKernel, LiesWhereAnInstalledOneIsLookedFor) {
    const Kernel kernel{.image = "/cache/boot/vmlinuz",
                        .release = "6.1.0-x",
                        .modules = {{.name = "kvm", .file = "/cache/kvm.ko.xz", .bytes = "one"},
                                    {.name = "kvm_amd", .file = "/cache/kvm-amd.ko.xz", .bytes = "two"}}};
    const auto files = installed_kernel(kernel, Silicon::amd);
    const auto* const image = find(files, "/boot/vmlinuz-6.1.0-x");
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(image->source, kernel.image);
    const auto* const module = find(files, "/lib/modules/6.1.0-x/kvm_amd.ko");
    ASSERT_NE(module, nullptr);
    EXPECT_EQ(module->bytes, "two");
    ASSERT_NE(find(files, "/lib/modules/6.1.0-x/kvm.ko"), nullptr);
    const auto* const built_in = find(files, "/lib/modules/6.1.0-x/modules.builtin");
    ASSERT_NE(built_in, nullptr);
    EXPECT_EQ(built_in->bytes, "");
}

TEST(InstalledKernel, WithoutModulesHasKvmBuiltIn) {
    const Kernel kernel{.image = "/k", .release = "1", .modules = {}};
    for (const auto& [silicon, name] : {std::pair{Silicon::amd, "kvm_amd"}, {Silicon::intel, "kvm_intel"}}) {
        const auto files = installed_kernel(kernel, silicon);
        const auto* const built_in = find(files, "/lib/modules/1/modules.builtin");
        ASSERT_NE(built_in, nullptr);
        EXPECT_TRUE(parse_built_in(built_in->bytes).contains(name));
    }
}

} // namespace
} // namespace nestbed::lab
