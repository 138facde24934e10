#include "report/base64.hpp"

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
    std::vector<std::byte> bytes;
    for (const char letter : text)
        bytes.push_back(static_cast<std::byte>(letter));
    return bytes;
}

// RFC 4648, section 10.
TEST(Base64, IsThatOfTheStandard) {
    struct Case {
        std::string bytes;
        std::string text;
    };
    for (const auto& [bytes, text] : std::vector<Case>{{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"},
                                                       {"\xfb\xff\xbf", "+/+/"}}) {
        EXPECT_EQ(to_base64(bytes_of(bytes)), text);
        EXPECT_EQ(from_base64(text), bytes_of(bytes)) << text;
    }
}

TEST(Base64, IsNotWhatItDoesNotWrite) {
    for (const auto* text : {"A", "AA", "AAA", "AAAAA", "====", "A===", "=AAA", "AA=A", "Zg==Zg==", "Zh==",
                             "Zm9=", "Zm9v\n", "Zm 9", "Zm9-", "Zm9_", "\xff\xff\xff\xff"})
        EXPECT_FALSE(from_base64(text)) << text;
}

TEST(Base64, KeepsEveryBitOfAFloat) {
    const std::vector<float> values{0.0F,
                                    -0.0F,
                                    1.5F,
                                    std::numeric_limits<float>::denorm_min(),
                                    std::numeric_limits<float>::infinity(),
                                    std::numeric_limits<float>::quiet_NaN()};
    const auto back = floats_from_base64(floats_to_base64(values));
    ASSERT_TRUE(back);
    ASSERT_EQ(back->size(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_EQ(std::bit_cast<std::uint32_t>((*back)[i]), std::bit_cast<std::uint32_t>(values[i])) << i;
    EXPECT_EQ(floats_to_base64(std::vector{1.0F}), "AACAPw=="); // 0x3f800000, little-endian
    EXPECT_FALSE(floats_from_base64("Zm9v"));                   // three bytes are no float
}

} // namespace
} // namespace nestbed::report
