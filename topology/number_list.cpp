#include "topology/number_list.hpp"

#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "base/units.hpp"

namespace nestbed::topology {

namespace {

struct Run {
    std::uint64_t first = 0, last = 0, used = 1, group = 1;
};

Result<Run> parse_run(std::string_view text, std::uint32_t largest) {
    Run run;
    const auto number = [&](std::string_view digits, std::uint64_t& value) -> Status {
        const auto parsed = parse_count(digits, "number", largest);
        if (!parsed)
            return tl::unexpected{parsed.error()};
        value = *parsed;
        return {};
    };
    const auto refuse = [&](std::string why) {
        return fail(ErrorKind::bad_input, fmt::format("numbers \"{}\"", printable(text.substr(0, 32))),
                    std::move(why), "write them as in 0-3,8 or 0-30:1/8");
    };
    const auto colon = text.find(':');
    const auto range = text.substr(0, colon);
    const auto dash = range.find('-');
    if (!number(range.substr(0, dash), run.first) ||
        !number(dash == std::string_view::npos ? range : range.substr(dash + 1), run.last))
        return refuse(fmt::format("not a number up to {}, nor a range of them", largest));
    if (run.last < run.first)
        return refuse("a range that ends before it begins");
    if (colon == std::string_view::npos)
        return run;
    const auto step = text.substr(colon + 1);
    const auto slash = step.find('/');
    if (slash == std::string_view::npos || !number(step.substr(0, slash), run.used) ||
        !number(step.substr(slash + 1), run.group) || run.used == 0 || run.used > run.group)
        return refuse("behind the colon stands how many of how many, as in 1/8");
    return run;
}

} // namespace

Result<std::vector<std::uint32_t>> parse_number_list(std::string_view text, std::uint32_t largest,
                                                     std::size_t most) {
    std::vector<std::uint32_t> numbers;
    for (;;) {
        const auto comma = text.find(',');
        const auto run = parse_run(text.substr(0, comma), largest);
        if (!run)
            return tl::unexpected{run.error()};
        for (auto group = run->first; group <= run->last; group += run->group)
            for (auto number = group; number < group + run->used && number <= run->last; ++number) {
                if (numbers.size() == most)
                    return fail(ErrorKind::bad_input, "a list of numbers", fmt::format("more than {}", most));
                numbers.push_back(static_cast<std::uint32_t>(number));
            }
        if (comma == std::string_view::npos)
            return numbers;
        text.remove_prefix(comma + 1);
    }
}

std::string format_number_list(std::span<const std::uint32_t> numbers) {
    constexpr std::size_t worth_a_step = 4;
    std::string text;
    for (std::size_t first = 0; first < numbers.size();) {
        auto last = first;
        const auto step = first + 1 < numbers.size() && numbers[first + 1] > numbers[first]
                              ? numbers[first + 1] - numbers[first]
                              : 0;
        while (step > 0 && last + 1 < numbers.size() && numbers[last + 1] > numbers[last] &&
               numbers[last + 1] - numbers[last] == step)
            ++last;
        const bool is_short = step > 1 && last - first + 1 < worth_a_step;
        if (is_short)
            last = first;
        text += fmt::format("{}{}", text.empty() ? "" : ",", numbers[first]);
        if (last > first)
            text += fmt::format("-{}", numbers[last]);
        if (last > first && step > 1)
            text += fmt::format(":1/{}", step);
        first = last + 1;
    }
    return text;
}

} // namespace nestbed::topology
