#include "lab/qemu_version.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

namespace nestbed::lab {

std::string to_string(const QemuVersion& version) {
    return fmt::format("{}.{}.{}", version.major, version.minor, version.micro);
}

std::optional<QemuVersion> parse_qemu_version(std::string_view text) {
    constexpr std::string_view words = "version ";
    const auto start = text.find(words);
    if (start == std::string_view::npos)
        return std::nullopt;
    text.remove_prefix(start + words.size());
    std::array<unsigned, 3> numbers{};
    for (auto& number : numbers) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc{})
            return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (&number != &numbers.back()) {
            if (!text.starts_with('.'))
                return std::nullopt;
            text.remove_prefix(1);
        }
    }
    return QemuVersion{numbers[0], numbers[1], numbers[2]};
}

bool walks_nested_tables_without_paging(const QemuVersion& version) {
    if (version < QemuVersion{7, 2, 0} || version >= QemuVersion{9, 2, 0})
        return true;
    // The first of each stable series.
    constexpr std::array mended{QemuVersion{7, 2, 15}, QemuVersion{8, 2, 8}, QemuVersion{9, 0, 4},
                                QemuVersion{9, 1, 1}};
    return std::ranges::any_of(mended, [&](const QemuVersion& first) {
        return version.major == first.major && version.minor == first.minor && version >= first;
    });
}

} // namespace nestbed::lab
