#include "base/units.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <limits>

#include <fmt/format.h>

namespace nestbed {

namespace {

// Number of bits that the suffix shifts by, or -1.
int suffix_shift(std::string_view suffix) {
    std::string lower;
    for (const char c : suffix)
        lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower.empty() || lower == "b")
        return 0;
    if (lower.size() > 1 && lower.substr(1) != "b" && lower.substr(1) != "ib")
        return -1;
    constexpr std::string_view letters = "kmgt";
    const auto at = letters.find(lower[0]);
    return at == std::string_view::npos ? -1 : static_cast<int>(at + 1) * 10;
}

} // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return fail(ErrorKind::bad_input, fmt::format("size \"{}\"", text), std::string{why},
                    "write a whole number with K, M, G or T, such as 512M");
    };
    std::uint64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code == std::errc::result_out_of_range)
        return refuse("larger than 64 bits");
    if (code != std::errc{})
        return refuse("not a number");
    const auto shift = suffix_shift({end, static_cast<std::size_t>(text.data() + text.size() - end)});
    if (shift < 0)
        return refuse("unknown suffix");
    if (value > (std::numeric_limits<std::uint64_t>::max() >> shift))
        return refuse("larger than 64 bits");
    return value << shift;
}

Result<std::uint64_t> parse_count(std::string_view text, std::string_view what, std::uint64_t max) {
    std::uint64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || end != text.data() + text.size() || value > max)
        return fail(ErrorKind::bad_input, fmt::format("{} \"{}\"", what, text),
                    code == std::errc{} && value > max ? fmt::format("more than {}", max) : "not a number",
                    fmt::format("write a whole number from 0 to {}", max));
    return value;
}

std::string format_size(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 5> names{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    while (value >= 1024 && unit + 1 < names.size()) {
        value /= 1024;
        ++unit;
    }
    if (value == static_cast<double>(static_cast<std::uint64_t>(value)))
        return fmt::format("{:.0f} {}", value, names[unit]);
    return fmt::format("{:.1f} {}", value, names[unit]);
}

} // namespace nestbed
