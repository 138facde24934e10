#include "lab/distribution.hpp"

#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

using testing::ElementsAre;

TEST(KernelDependencies, OfDebiansAndUbuntusPackages) {
    EXPECT_THAT(kernel_dependencies("Package: linux-image-amd64\nVersion: 6.1.192-2\n"
                                    "Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\nSection: kernel\n\n"
                                    "Package: linux-image-amd64\nDepends: linux-image-6.1.0-50-amd64\n"),
                ElementsAre("linux-image-6.1.0-56-amd64"));
    EXPECT_THAT(
        kernel_dependencies("Package: linux-image-6.8.0-31-generic\nPre-Depends: linux-image-nothing\n"
                            "Depends: kmod, linux-base (>= 4.5), linux-modules-6.8.0-31-generic | x\n"),
        ElementsAre("linux-modules-6.8.0-31-generic"));
    EXPECT_THAT(kernel_dependencies("Depends: initramfs-tools | linux-initramfs-tool, kmod\n"),
                ElementsAre());
    EXPECT_THAT(kernel_dependencies(""), ElementsAre());
    EXPECT_THAT(kernel_dependencies("Depends: ,, linux-image-a,"), ElementsAre("linux-image-a"));
}

TEST(BelongsToKernel, Table) {
    for (const auto* const wanted :
         {"boot/vmlinuz-6.1.0-56-amd64", "lib/modules/6.1/kernel/arch/x86/kvm/kvm-amd.ko",
          "lib/modules/6.1/modules.builtin", "usr/lib/modules/6.1/kernel/virt/lib/irqbypass.ko.xz",
          "lib/modules/6.1/kernel/drivers/crypto/ccp/ccp.ko.zst",
          "lib/modules/6.1/kernel/drivers/virtio/virtio_mmio.ko",
          "lib/modules/6.1/kernel/drivers/block/virtio_blk.ko.xz"})
        EXPECT_TRUE(belongs_to_kernel(wanted)) << wanted;
    for (const auto* const other : {"boot/System.map-6.1", "lib/modules/6.1/kernel/drivers/gpu/drm/drm.ko",
                                    "lib/modules", "lib/modules/6.1/kernel/drivers/block/loop.ko",
                                    "lib/modules/6.1", "usr/share/doc/linux-image/copyright", ""})
        EXPECT_FALSE(belongs_to_kernel(other)) << other;
}

} // namespace
} // namespace nestbed::lab
