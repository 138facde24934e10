#include "base/units.hpp"

#include <cstdint>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace nestbed {
namespace {

TEST(ParseSize, Table) {
    struct Case {
        std::string text;
        std::optional<std::uint64_t> bytes;
    };
    const Case cases[] = {
        {"0", 0},
        {"65536", 65536},
        {"512M", 512 * MiB},
        {"512m", 512 * MiB},
        {"4G", 4 * GiB},
        {"4GB", 4 * GiB},
        {"4GiB", 4 * GiB},
        {"4gib", 4 * GiB},
        {"2T", 2048 * GiB},
        {"12B", 12},
        {"2048kB", 2 * MiB},
        {"16777215T", std::uint64_t{16777215} * 1024 * GiB},
        {"18446744073709551615", 18446744073709551615U},
        {"18446744073709551616", std::nullopt},
        {"16777216T", std::nullopt},
        {"", std::nullopt},
        {"G", std::nullopt},
        {"1.5G", std::nullopt},
        {"-1", std::nullopt},
        {"+1", std::nullopt},
        {" 1", std::nullopt},
        {"1 G", std::nullopt},
        {"4X", std::nullopt},
        {"4Gi", std::nullopt},
        {"4BB", std::nullopt},
        {"4GBs", std::nullopt},
    };
    for (const auto& [text, bytes] : cases) {
        const auto parsed = parse_size(text);
        ASSERT_EQ(parsed.has_value(), bytes.has_value()) << text;
        if (bytes)
            EXPECT_EQ(*parsed, *bytes) << text;
        else {
            EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input) << text;
            EXPECT_NE(parsed.error().message().find("\"" + text + "\""), std::string::npos) << text;
        }
    }
}

TEST(ParseCount, Table) {
    struct Case {
        std::string text;
        std::uint64_t max;
        std::optional<std::uint64_t> count;
    };
    const Case cases[] = {
        {"0", 10, 0},
        {"10", 10, 10},
        {"11", 10, std::nullopt},
        {"007", 10, 7},
        {"", 10, std::nullopt},
        {"-1", 10, std::nullopt},
        {"1 ", 10, std::nullopt},
        {"1e3", 5000, std::nullopt},
        {"0x10", 100, std::nullopt},
        {"99999999999999999999", 18446744073709551615U, std::nullopt},
        {"18446744073709551615", 18446744073709551615U, 18446744073709551615U},
    };
    for (const auto& [text, max, count] : cases) {
        const auto parsed = parse_count(text, "--vcpus", max);
        ASSERT_EQ(parsed.has_value(), count.has_value()) << text;
        if (count)
            EXPECT_EQ(*parsed, *count) << text;
        else {
            EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input) << text;
            EXPECT_EQ(parsed.error().asked, "--vcpus \"" + text + "\"");
        }
    }
}

TEST(FormatSize, Table) {
    struct Case {
        std::uint64_t bytes;
        std::string text;
    };
    const Case cases[] = {
        {0, "0 B"},
        {812, "812 B"},
        {KiB, "1 KiB"},
        {64 * MiB, "64 MiB"},
        {3 * GiB / 2, "1.5 GiB"},
        {4 * GiB, "4 GiB"},
        {2048 * GiB, "2 TiB"},
        {std::uint64_t{4096} * 1024 * GiB, "4096 TiB"},
    };
    for (const auto& [bytes, text] : cases)
        EXPECT_EQ(format_size(bytes), text);
}

TEST(RoundUp, Table) {
    EXPECT_EQ(round_up(0, 4096), 0U);
    EXPECT_EQ(round_up(1, 4096), 4096U);
    EXPECT_EQ(round_up(4096, 4096), 4096U);
    EXPECT_EQ(round_up(4097, 4096), 8192U);
}

} // namespace
} // namespace nestbed
