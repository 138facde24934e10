#include "topology/text_file.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace nestbed::topology {
namespace {

TEST(FindNumber, TakesWholeKeysOnly) {
    const std::string text =
        "Node 0 MemTotal:        4942040 kB\nNode 0 Inactive:  7 kB\nNode 0 Active:  5 kB\n"
        "MemFree:12 kB\nEmpty:\n";
    EXPECT_EQ(find_number(text, "MemTotal"), 4942040U);
    EXPECT_EQ(find_number(text, "Active"), 5U);
    EXPECT_EQ(find_number(text, "MemFree"), 12U);
    EXPECT_EQ(find_number(text, "Total"), std::nullopt);
    EXPECT_EQ(find_number(text, "Empty"), std::nullopt);
    EXPECT_EQ(find_number("", "MemFree"), std::nullopt);
}

TEST(ReadTextFile, TellsWhyNot) {
    EXPECT_NE(read_text_file("/nowhere/at/all", 10).error().found.find("ENOENT"), std::string::npos);
    EXPECT_NE(read_text_file("/", 10).error().found.find("EISDIR"), std::string::npos);
    EXPECT_NE(read_text_file("/dev/zero", 1 << 20).error().found.find("larger than 1 MiB"),
              std::string::npos);
    // At once, and without memory for it.
    const auto sparse = std::filesystem::temp_directory_path() / fmt::format("nestbed-sparse-{}", ::getpid());
    std::ofstream{sparse} << 'x';
    std::filesystem::resize_file(sparse, std::uint64_t{1} << 40);
    EXPECT_THAT(read_text_file(sparse.string(), std::size_t{1} << 39).error().found,
                testing::HasSubstr("larger than 512 GiB"));
    std::filesystem::remove(sparse);
    EXPECT_FALSE(read_text_file("/proc/self/status", 100));
    EXPECT_TRUE(read_text_file("/proc/self/status", 1 << 20));
    EXPECT_EQ(read_text_file("/dev/null", 10).value(), "");
}

TEST(ReadNumberFile, WantsANumberAndNothingElse) {
    EXPECT_TRUE(read_number_file("/proc/sys/kernel/pid_max"));
    EXPECT_FALSE(read_number_file("/proc/sys/kernel/ostype"));
    EXPECT_FALSE(read_number_file("/nowhere/at/all"));
}

} // namespace
} // namespace nestbed::topology
