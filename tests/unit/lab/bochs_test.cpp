#include "lab/bochs.hpp"

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "tests/unit/lab/kernel_files.hpp"

namespace nestbed::lab {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t start = MiB; // of the file, in the machine's memory

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

template<typename T>
T at(const std::string& memory, std::uint64_t address) {
    T value{};
    EXPECT_LE(address - start + sizeof value, memory.size());
    std::memcpy(&value, memory.data() + (address - start), sizeof value);
    return value;
}

TEST(BochsRom, StartsWithAJumpToItsBeginning) {
    const auto rom = bochs_rom();
    ASSERT_EQ(rom.size(), 64 * KiB);
    EXPECT_EQ(rom.substr(0xfff0, 3), (std::string{"\xe9\x0d\x00", 3})) << "0xfff3 + 0xd is 0 in 16 bits";
    EXPECT_EQ(rom[0], '\xfa') << "cli";
    EXPECT_THAT(rom, HasSubstr("Shutdown"));
}

TEST(BochsVideoRom, IsAnOptionRom) {
    const auto rom = bochs_video_rom();
    ASSERT_EQ(rom.size(), 512U);
    EXPECT_EQ(rom.substr(0, 3), "\x55\xaa\x01");
    unsigned sum = 0;
    for (const char byte : rom)
        sum += static_cast<unsigned char>(byte);
    EXPECT_EQ(sum % 256, 0U);
}

TEST(BochsMemory, HoldsWhatThePvhProtocolAsksFor) {
    const auto vmlinux = test::vmlinux_to_boot(16 * MiB, "kernel's bytes", 16 * MiB + 4);
    const auto made = bochs_memory(bytes_of(vmlinux), 5000, 512 * MiB, "console=ttyS0 x");
    ASSERT_TRUE(made) << made.error().message();
    const auto& memory = *made;
    const auto end = start + memory.size();
    EXPECT_EQ(end, 16 * MiB + 4 * KiB) << "the initramfs follows on a page of its own";
    EXPECT_EQ(memory.substr(15 * MiB, 14), "kernel's bytes");
    EXPECT_EQ(at<std::uint32_t>(memory, start), 16 * MiB + 4) << "the entry";
    EXPECT_EQ(at<std::uint32_t>(memory, start + 4), end + 5000) << "the end";
    const auto info = start + 8;
    EXPECT_EQ(at<std::uint32_t>(memory, info), 0x336ec578U);
    EXPECT_EQ(at<std::uint32_t>(memory, info + 4), 1U);
    ASSERT_EQ(at<std::uint32_t>(memory, info + 12), 1U);
    const auto module = at<std::uint64_t>(memory, info + 16);
    EXPECT_EQ(at<std::uint64_t>(memory, module), end);
    EXPECT_EQ(at<std::uint64_t>(memory, module + 8), 5000U);
    const auto text = at<std::uint64_t>(memory, info + 24);
    EXPECT_STREQ(memory.c_str() + (text - start), "console=ttyS0 x");
    const auto map = at<std::uint64_t>(memory, info + 40);
    ASSERT_EQ(at<std::uint32_t>(memory, info + 48), 2U);
    EXPECT_EQ(at<std::uint64_t>(memory, map), 0U);
    EXPECT_EQ(at<std::uint64_t>(memory, map + 8), 640 * KiB);
    EXPECT_EQ(at<std::uint64_t>(memory, map + 24), MiB);
    EXPECT_EQ(at<std::uint64_t>(memory, map + 32), 511 * MiB);
}

TEST(BochsMemory, RefusesWhatCannotBeStarted) {
    const auto refused = [](const std::string& vmlinux, std::uint64_t initramfs = 1) {
        const auto made = bochs_memory(bytes_of(vmlinux), initramfs, 512 * MiB, "x");
        return !made && made.error().kind == ErrorKind::bad_input;
    };
    EXPECT_FALSE(refused(test::vmlinux_to_boot(16 * MiB, "kernel", 16 * MiB)));
    EXPECT_TRUE(refused(test::vmlinux_to_boot(16 * MiB, "kernel", 16 * MiB), 400 * MiB));
    EXPECT_TRUE(refused(test::vmlinux_to_boot(16 * MiB, "kernel", 15 * MiB))) << "entered elsewhere";
    EXPECT_TRUE(refused(test::vmlinux_to_boot(MiB, "kernel", MiB))) << "where the boot page is";
    EXPECT_TRUE(refused(test::vmlinux_to_boot(512 * MiB, "kernel", 512 * MiB))) << "past the memory";
    EXPECT_TRUE(refused(test::vmlinux_to_boot(~std::uint64_t{4095}, "kernel", 0))) << "past all memory";
    EXPECT_TRUE(refused(test::vmlinux_with_note("Xen", 18))) << "nothing to load";
    EXPECT_TRUE(refused("a bzImage"));
}

TEST(BochsConfig, NamesWhatItIsGiven) {
    const auto config = bochs_config({.silicon = Silicon::intel, .memory_bytes = 768 * MiB}, 3, 4);
    for (const auto* const line :
         {"cpu: model=corei7_haswell_4770, count=1,", "memory: guest=768, host=768\n",
          "romimage: file=rom.bin\n", "vgaromimage: file=video.bin\n",
          "optramimage1: file=memory.bin, address=0x100000\n", "com1: enabled=1, mode=term, dev=/dev/fd/3\n",
          "com2: enabled=1, mode=file, dev=/dev/fd/4\n", "display_library: term\n", "log: /dev/null\n"})
        EXPECT_THAT(config, HasSubstr(line));
    EXPECT_THAT(bochs_command("/b"), testing::ElementsAre("/b", "-q", "-f", "bochsrc", "-rc", "debugger"));
}

} // namespace
} // namespace nestbed::lab
