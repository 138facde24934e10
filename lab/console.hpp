// What the emulated kernel wrote to its console, as far back as is worth telling.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace nestbed::lab {

class Console {
public:
    void take(std::string_view bytes);

    // The last lines, oldest first, at most `count`; printable, without colours and carriage returns.
    [[nodiscard]] std::vector<std::string> last_lines(std::size_t count) const;
    // Whether a kernel has said that it panics.
    [[nodiscard]] bool panicked() const noexcept { return _panicked; }

private:
    void end_line();

    std::deque<std::string> _lines;
    std::string _line;
    bool _in_escape = false;
    bool _panicked = false;
};

} // namespace nestbed::lab
