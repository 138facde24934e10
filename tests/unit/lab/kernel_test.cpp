#include "lab/kernel.hpp"

#include <string>

#include <gtest/gtest.h>

#include "tests/unit/lab/kernel_files.hpp"
#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {
namespace {

using test::kernel_image;
using test::kernel_module;

class KernelFilesTest : public test::InScratch {
protected:
    void SetUp() override {
        InScratch::SetUp();
        _image = write("bzImage", kernel_image("6.1.0 x"));
    }
    // As modules_install leaves them.
    void install(const std::string& release = "6.1.0") const {
        write("root/lib/modules/6.1.0/kernel/kvm-amd.ko", kernel_module("kvm", release));
        write("root/lib/modules/6.1.0/kernel/kvm.ko", kernel_module("", release));
    }
    [[nodiscard]] Result<Kernel> read_with(const char* modules) const {
        return read_kernel({.image = _image, .modules = folder() / modules}, Silicon::amd);
    }
    [[nodiscard]] const std::filesystem::path& image() const { return _image; }

private:
    std::filesystem::path _image;
};

TEST_F(KernelFilesTest, WhatIsBootedIsTheVmlinuxWhereThatCan) {
    const auto cache = Cache::open(folder() / "cache");
    ASSERT_TRUE(cache) << cache.error().message();
    const auto vmlinux = test::vmlinux_with_note("Xen", 18);
    // Not compressed, which is as good; the size is appended.
    const auto image = write("good", test::kernel_image_with("6.1.0 x", vmlinux + "size"));
    const auto bootable = bootable_image(*cache, image);
    ASSERT_TRUE(bootable) << bootable.error().message();
    EXPECT_EQ(read(*bootable), vmlinux);
    EXPECT_EQ(bootable_image(*cache, image), *bootable);
    for (const auto& other : {test::kernel_image_with("6.1.0 x", test::vmlinux_with_note("Xen", 1) + "size"),
                              test::kernel_image_with("6.1.0 x", "rubbish"), kernel_image("6.1.0 x")}) {
        const auto path = write("other", other);
        EXPECT_EQ(bootable_image(*cache, path), path);
        EXPECT_EQ(bootable_image(*cache, path), path) << "the second time as well";
    }
}

TEST_F(KernelFilesTest, ModulesAreFoundInEachKindOfFolder) {
    install();
    write("build/arch/x86/kvm/kvm-amd.ko", kernel_module("kvm", "6.1.0"));
    write("build/arch/x86/kvm/kvm.ko", kernel_module("", "6.1.0"));
    for (const auto* const place : {"root", "root/lib/modules/6.1.0", "build"}) {
        const auto kernel = read_with(place);
        ASSERT_TRUE(kernel) << kernel.error().message();
        EXPECT_EQ(kernel->release, "6.1.0");
        ASSERT_EQ(kernel->modules.size(), 2U) << place;
        EXPECT_EQ(kernel->modules[0].name, "kvm");
        EXPECT_EQ(kernel->modules[1].name, "kvm_amd");
        EXPECT_EQ(kernel->modules[0].bytes, kernel_module("", "6.1.0"));
    }
}

TEST_F(KernelFilesTest, EachSiliconHasItsModule) {
    install();
    const KernelFiles files{.image = image(), .modules = folder() / "root"};
    const auto lacking = read_kernel(files, Silicon::intel);
    ASSERT_FALSE(lacking);
    EXPECT_EQ(lacking.error().kind, ErrorKind::host_lacks);
    EXPECT_NE(lacking.error().message().find("CONFIG_KVM_INTEL=m"), std::string::npos);
    write("root/lib/modules/6.1.0/kernel/kvm-intel.ko", kernel_module("kvm", "6.1.0"));
    const auto kernel = read_kernel(files, Silicon::intel);
    ASSERT_TRUE(kernel) << kernel.error().message();
    ASSERT_EQ(kernel->modules.size(), 2U);
    EXPECT_EQ(kernel->modules[1].name, "kvm_intel");
}

TEST_F(KernelFilesTest, WithoutAFolderTheDriversAreBuiltIn) {
    const auto kernel = read_kernel({.image = image(), .modules = {}}, Silicon::amd);
    ASSERT_TRUE(kernel);
    EXPECT_TRUE(kernel->modules.empty());
}

TEST_F(KernelFilesTest, ModulesOfAnotherKernelAreRefused) {
    install("6.2.0");
    const auto kernel = read_with("root");
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, ErrorKind::bad_input);
    EXPECT_NE(kernel.error().found.find("6.2.0"), std::string::npos) << kernel.error().message();
}

TEST_F(KernelFilesTest, AFolderOfAnotherReleaseIsRefused) {
    write("root/lib/modules/6.2.0/kvm.ko", "x");
    const auto kernel = read_with("root");
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, ErrorKind::bad_input);
}

TEST_F(KernelFilesTest, AKernelWithoutKvmForAmdIsTheHostsLack) {
    write("root/lib/modules/6.1.0/kernel/kvm.ko", kernel_module("", "6.1.0"));
    const auto kernel = read_with("root");
    ASSERT_FALSE(kernel);
    EXPECT_EQ(kernel.error().kind, ErrorKind::host_lacks);
    EXPECT_NE(kernel.error().remedy.find("CONFIG_KVM_AMD"), std::string::npos);
}

TEST_F(KernelFilesTest, AMissingFolderOrImageIsBadInput) {
    EXPECT_EQ(read_with("nowhere").error().kind, ErrorKind::bad_input);
    EXPECT_EQ(read_kernel({.image = "/nonexistent", .modules = {}}, Silicon::amd).error().kind,
              ErrorKind::bad_input);
    EXPECT_EQ(read_kernel({.image = folder(), .modules = {}}, Silicon::amd).error().kind,
              ErrorKind::bad_input);
}

} // namespace
} // namespace nestbed::lab
