#include "topology/proc_text.hpp"

#include <charconv>

namespace nestbed::topology {

namespace {

// A number at the beginning of `text`, which goes on behind it.
template<typename Number>
std::optional<Number> take_number(std::string_view& text) {
    const auto begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos)
        return std::nullopt;
    text.remove_prefix(begin);
    Number value = 0;
    const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{})
        return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
    if (!text.empty() && text[0] != ' ' && text[0] != '\n')
        return std::nullopt;
    return value;
}

} // namespace

// The name in field 2 may hold blanks and parentheses, so that fields are counted from the last closing one,
// behind which is field 3.
std::optional<std::uint32_t> last_processor(std::string_view stat) {
    constexpr int blanks_before = 37; // between the parenthesis and field 39
    auto at = stat.rfind(')');
    for (int i = 0; i < blanks_before && at != std::string_view::npos; ++i)
        at = stat.find(' ', at + 1);
    if (at == std::string_view::npos)
        return std::nullopt;
    auto rest = stat.substr(at + 1);
    return take_number<std::uint32_t>(rest);
}

std::optional<SchedulerTimes> parse_schedstat(std::string_view schedstat) {
    const auto run = take_number<std::uint64_t>(schedstat);
    const auto wait = run ? take_number<std::uint64_t>(schedstat) : std::nullopt;
    if (!wait)
        return std::nullopt;
    return SchedulerTimes{.run = *run, .wait = *wait};
}

std::optional<std::uint64_t> parse_migrations(std::string_view sched) {
    constexpr std::string_view key = "se.nr_migrations";
    for (std::size_t at = sched.find(key); at != std::string_view::npos; at = sched.find(key, at + 1)) {
        if (at > 0 && sched[at - 1] != '\n')
            continue;
        auto rest = sched.substr(at + key.size());
        const auto value = rest.find_first_not_of(" \t");
        if (value == std::string_view::npos || rest[value] != ':')
            continue;
        rest.remove_prefix(value + 1);
        return take_number<std::uint64_t>(rest);
    }
    return std::nullopt;
}

} // namespace nestbed::topology
