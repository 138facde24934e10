#include "guests/console.hpp"

#include "base/printable.hpp"

namespace nestbed::guests {

void Console::take(std::span<const std::byte> bytes) {
    _pass_on(bytes);
    const std::lock_guard lock{_mutex};
    _bytes += bytes.size();
    for (const auto byte : bytes) {
        const auto character = static_cast<char>(byte);
        if (character == '\n')
            end_line();
        else if (character != '\r' && _line.size() < longest_line)
            _line.push_back(character);
    }
}

void Console::finish() {
    const std::lock_guard lock{_mutex};
    if (!_line.empty())
        end_line();
}

void Console::end_line() {
    if (!_first_line_at)
        _first_line_at = Clock::now();
    if (_expect && !_matched && _expect->matches(_line)) {
        _matched = printable(_line);
        _tell();
    }
    _last_lines.push_back(printable(_line));
    if (_last_lines.size() > most_last_lines)
        _last_lines.pop_front();
    _line.clear();
}

bool Console::seen() const {
    const std::lock_guard lock{_mutex};
    return !_expect || _matched;
}

std::optional<std::string> Console::matched_line() const {
    const std::lock_guard lock{_mutex};
    return _matched;
}

std::optional<Console::Clock::time_point> Console::first_line_at() const {
    const std::lock_guard lock{_mutex};
    return _first_line_at;
}

std::uint64_t Console::bytes() const {
    const std::lock_guard lock{_mutex};
    return _bytes;
}

std::vector<std::string> Console::last_lines() const {
    const std::lock_guard lock{_mutex};
    std::vector<std::string> lines{_last_lines.begin(), _last_lines.end()};
    if (!_line.empty())
        lines.push_back(printable(_line));
    return lines;
}

} // namespace nestbed::guests
