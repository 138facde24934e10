// Images of others that happen to be on this machine: no table of ours knows what a distribution's kernel is
// like.
#include "core/boot/foreign_image.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/boot/elf.hpp"

namespace nestbed::boot {
namespace {

namespace fs = std::filesystem;
using testing::StartsWith;

constexpr RamRange ram{0, 2 * GiB, 0};

std::vector<fs::path> files_in(const fs::path& folder, const std::string& start, const std::string& end) {
    std::vector<fs::path> files;
    std::error_code error;
    for (auto at = fs::directory_iterator{folder, fs::directory_options::skip_permission_denied, error};
         !error && at != fs::directory_iterator{}; at.increment(error)) {
        const auto name = at->path().filename().string();
        if (name.starts_with(start) && name.ends_with(end) && at->is_regular_file(error))
            files.push_back(at->path());
    }
    return files;
}

// Installed kernels, and what the lab has fetched.
std::vector<fs::path> kernels() {
    auto found = files_in("/boot", "vmlinuz-", "");
    const char* const cache = std::getenv("XDG_CACHE_HOME");
    const char* const home = std::getenv("HOME");
    const auto lab = (cache != nullptr  ? fs::path{cache}
                      : home != nullptr ? fs::path{home} / ".cache"
                                        : fs::path{}) /
                     "nestbed/lab";
    std::error_code error;
    for (auto at = fs::directory_iterator{lab, error}; !error && at != fs::directory_iterator{};
         at.increment(error))
        for (auto& image : files_in(at->path() / "boot", "vmlinuz-", ""))
            found.push_back(std::move(image));
    if (const char* const named = std::getenv("NESTBED_TEST_KERNEL"))
        found.emplace_back(named);
    return found;
}

std::string read(const fs::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void expect_loads(const std::string& image, BootProtocol protocol, const std::string& expected) {
    const std::string initrd(3 * MiB + 1, 'i');
    const std::vector<Extent> acpi{{2 * GiB - 64 * KiB, 64 * KiB}};
    const auto e820 = e820_map({&ram, 1}, acpi);
    const ForeignInput input{.image = std::as_bytes(std::span{image}),
                             .initrd = std::as_bytes(std::span{initrd}),
                             .command_line = "console=ttyS0",
                             .image_name = "image",
                             .ram = {&ram, 1},
                             .e820 = e820,
                             .rsdp = acpi[0].address,
                             .protocol = protocol};
    const auto boot = load_foreign(input);
    ASSERT_TRUE(boot) << boot.error().message();
    EXPECT_THAT(boot->protocol, StartsWith(expected));
    EXPECT_TRUE(check_foreign(*boot, input));
}

TEST(InstalledKernels, Load) {
    const auto images = kernels();
    if (images.empty())
        GTEST_SKIP() << "no kernel in /boot or in the lab's cache; NESTBED_TEST_KERNEL names one";
    for (const auto& path : images) {
        SCOPED_TRACE(path);
        const auto image = read(path);
        if (image.empty())
            continue; // root's
        expect_loads(image, BootProtocol::automatic, "Linux 64-bit boot protocol 2.1");
        expect_loads(image, BootProtocol::pvh, "PVH");
    }
}

TEST(InstalledTestImages, Load) {
    const char* const folder = std::getenv("KVM_UNIT_TESTS");
    if (folder == nullptr)
        GTEST_SKIP() << "KVM_UNIT_TESTS names no folder of kvm-unit-tests' images (x86 of its build)";
    auto images = files_in(folder, "", ".flat");
    for (auto& image : files_in(folder, "", ".elf"))
        images.push_back(std::move(image));
    ASSERT_FALSE(images.empty()) << folder;
    for (const auto& path : images) {
        SCOPED_TRACE(path);
        expect_loads(read(path), BootProtocol::automatic, "multiboot");
    }
}

} // namespace
} // namespace nestbed::boot
