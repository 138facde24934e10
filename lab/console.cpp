#include "lab/console.hpp"

#include <algorithm>
#include <utility>

namespace nestbed::lab {

namespace {

constexpr std::size_t kept_lines = 200;
constexpr std::size_t longest_line = 400;
constexpr char escape = '\x1b';

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

} // namespace

void Console::take(std::string_view bytes) {
    for (const char c : bytes) {
        const bool in_escape = _in_escape;
        if (in_escape)
            _in_escape = !is_letter(c) && c != '\n'; // "ESC [ 2 J": a letter ends it
        else if (c == escape)
            _in_escape = true;
        if (c == '\n')
            end_line();
        else if (!in_escape && c >= ' ' && c <= '~' && _line.size() < longest_line)
            _line += c;
    }
}

void Console::end_line() {
    _panicked = _panicked || _line.find("Kernel panic - not syncing") != std::string::npos;
    if (!_line.empty())
        _lines.push_back(std::exchange(_line, {}));
    if (_lines.size() > kept_lines)
        _lines.pop_front();
}

std::vector<std::string> Console::last_lines(std::size_t count) const {
    std::vector<std::string> lines{_lines.begin(), _lines.end()};
    if (!_line.empty())
        lines.push_back(_line);
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(std::min(count, lines.size())));
    return lines;
}

} // namespace nestbed::lab
