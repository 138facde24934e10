#include "report/base64.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace nestbed::report {

namespace {

constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t no_letter = 64;

constexpr std::array<std::uint8_t, 256> make_values() {
    std::array<std::uint8_t, 256> values{};
    values.fill(no_letter);
    for (std::size_t i = 0; i < letters.size(); ++i)
        values[static_cast<unsigned char>(letters[i])] = static_cast<std::uint8_t>(i);
    return values;
}

constexpr auto value_of_letter = make_values();

static_assert(std::endian::native == std::endian::little, "nestbed is for x86-64");

} // namespace

std::string to_base64(std::span<const std::byte> bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const auto group = bytes.subspan(at, std::min<std::size_t>(3, bytes.size() - at));
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (i < group.size() ? std::to_integer<std::uint32_t>(group[i]) : 0);
        for (std::size_t i = 0; i < 4; ++i)
            text += i <= group.size() ? letters[bits >> (18 - 6 * i) & 63] : '=';
    }
    return text;
}

std::optional<std::vector<std::byte>> from_base64(std::string_view text) {
    if (text.size() % 4 != 0)
        return std::nullopt;
    std::vector<std::byte> bytes;
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t at = 0; at < text.size(); at += 4) {
        const bool is_last = at + 4 == text.size();
        std::size_t padding = 0;
        if (is_last && text[at + 3] == '=')
            padding = text[at + 2] == '=' ? 2 : 1;
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const auto value = i >= 4 - padding ? std::uint8_t{0}
                                                : value_of_letter[static_cast<unsigned char>(text[at + i])];
            if (value == no_letter)
                return std::nullopt;
            bits = bits << 6 | value;
        }
        // What padding cuts off has to be zero, so that each text is that of other bytes.
        if ((bits & ((1U << 8 * padding) - 1)) != 0)
            return std::nullopt;
        for (std::size_t i = 0; i < 3 - padding; ++i)
            bytes.push_back(static_cast<std::byte>(bits >> (16 - 8 * i) & 0xff));
    }
    return bytes;
}

std::string floats_to_base64(std::span<const float> values) {
    return to_base64(std::as_bytes(values));
}

std::optional<std::vector<float>> floats_from_base64(std::string_view text) {
    const auto bytes = from_base64(text);
    if (!bytes || bytes->size() % sizeof(float) != 0)
        return std::nullopt;
    std::vector<float> values(bytes->size() / sizeof(float));
    if (!values.empty())
        std::memcpy(values.data(), bytes->data(), bytes->size());
    return values;
}

} // namespace nestbed::report
