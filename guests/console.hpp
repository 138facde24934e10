// What a guest says on its console: passed on as it comes, and looked at line by line.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/line_pattern.hpp"

namespace nestbed::guests {

// Called from vCPU threads, one at a time, and asked from others.
class Console {
public:
    using Clock = std::chrono::steady_clock;

    static constexpr std::size_t longest_line = 4096; // what is longer is cut there
    static constexpr std::size_t most_last_lines = 40;

    // `pass_on` is given every byte. `matched` is called at the first line, without its end, that `expect`
    // matches.
    Console(std::optional<LinePattern> expect, std::function<void(std::span<const std::byte>)> pass_on,
            std::function<void()> matched)
        : _expect{std::move(expect)}, _pass_on{std::move(pass_on)}, _tell{std::move(matched)} {}

    void take(std::span<const std::byte> bytes);

    // The guest has ended: what it said last is a line as well.
    void finish();

    // Whether a line has matched; true where nothing was expected.
    [[nodiscard]] bool seen() const;
    [[nodiscard]] std::optional<std::string> matched_line() const;
    [[nodiscard]] std::optional<Clock::time_point> first_line_at() const; // when the first had its end
    [[nodiscard]] std::uint64_t bytes() const;
    [[nodiscard]] std::vector<std::string> last_lines() const; // printable, the unfinished one included

private:
    void end_line();

    const std::optional<LinePattern> _expect;
    const std::function<void(std::span<const std::byte>)> _pass_on;
    const std::function<void()> _tell;

    mutable std::mutex _mutex; // of all below
    std::string _line;
    std::deque<std::string> _last_lines;
    std::optional<std::string> _matched;
    std::optional<Clock::time_point> _first_line_at;
    std::uint64_t _bytes = 0;
};

} // namespace nestbed::guests
