#include "base/printable.hpp"

#include <algorithm>

namespace nestbed {

std::string printable(std::string_view bytes) {
    std::string text{bytes};
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

std::vector<std::string> last_lines(std::string_view bytes, std::size_t most) {
    std::vector<std::string> lines;
    while (!bytes.empty() && lines.size() < most) {
        const auto before = bytes.find_last_of("\r\n");
        const auto start = before == std::string_view::npos ? 0 : before + 1;
        const auto line = bytes.substr(start);
        if (line.find_first_not_of(" \t") != std::string_view::npos)
            lines.push_back(printable(line));
        bytes = bytes.substr(0, start == 0 ? 0 : start - 1);
    }
    std::ranges::reverse(lines);
    return lines;
}

} // namespace nestbed
