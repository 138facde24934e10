#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "topology/traffic.hpp"

namespace nestbed::topology {

namespace {

// Beyond it the sums of a row lose single units.
constexpr double max_weight = 1e15;

std::string_view trim(std::string_view text) {
    constexpr std::string_view blanks = " \t\r";
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

tl::unexpected<Error> refuse(std::string why) {
    return fail(ErrorKind::bad_input, "traffic matrix", std::move(why),
                "write a line for each vCPU with a number for each vCPU in it, 0 or above, with commas "
                "between");
}

// `line` and `column` from 1. Big matrices have millions of cells: what only an error says is put together
// there.
Result<double> parse_weight(std::string_view cell, std::size_t line, std::size_t column) {
    double value = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    const auto refuse_cell = [&](std::string_view why) {
        constexpr std::size_t shown = 24;
        return refuse(fmt::format("line {}, column {}: \"{}\" {}", line, column,
                                  printable(cell.substr(0, shown)), why));
    };
    if (error == std::errc::result_out_of_range)
        return refuse_cell("is too large or too small");
    if (error != std::errc{} || end != cell.data() + cell.size())
        return refuse_cell("is no number");
    if (!std::isfinite(value))
        return refuse_cell("is not finite");
    if (value < 0)
        return refuse_cell("is negative");
    if (value > max_weight)
        return refuse_cell(fmt::format("is above {}", max_weight));
    return value;
}

Result<std::vector<double>> parse_row(std::string_view text, std::size_t line) {
    std::vector<double> row;
    for (;;) {
        const auto comma = text.find(',');
        const auto value = parse_weight(trim(text.substr(0, comma)), line, row.size() + 1);
        if (!value)
            return tl::unexpected{value.error()};
        if (row.size() == max_traffic_vcpus)
            return refuse(fmt::format("line {}: more than {} numbers", line, max_traffic_vcpus));
        row.push_back(*value);
        if (comma == std::string_view::npos)
            return row;
        text.remove_prefix(comma + 1);
    }
}

} // namespace

Result<Traffic> parse_traffic_csv(std::string_view text) {
    std::vector<std::vector<double>> rows;
    for (std::size_t line = 1; !text.empty(); ++line) {
        const auto end = text.find('\n');
        const auto content = trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (content.empty() || content.front() == '#')
            continue;
        if (rows.size() == max_traffic_vcpus)
            return refuse(fmt::format("more than {} rows", max_traffic_vcpus));
        auto row = parse_row(content, line);
        if (!row)
            return tl::unexpected{row.error()};
        if (!rows.empty() && row->size() != rows.front().size())
            return refuse(fmt::format("line {}: {} numbers, in the lines before it {}", line, row->size(),
                                      rows.front().size()));
        rows.push_back(std::move(*row));
        // Before more is taken into memory.
        if (rows.size() > rows.front().size())
            break;
    }
    if (rows.empty())
        return refuse("it has no numbers");
    if (rows.size() != rows.front().size())
        return refuse(
            rows.size() > rows.front().size()
                ? fmt::format("more than {} rows of {} numbers each", rows.front().size(),
                              rows.front().size())
                : fmt::format("{} rows of {} numbers: not square", rows.size(), rows.front().size()));
    Traffic traffic{.of = std::vector<std::vector<Traffic::Edge>>(rows.size())};
    for (std::uint32_t a = 0; a < rows.size(); ++a)
        for (std::uint32_t b = 0; b < rows.size(); ++b)
            if (const auto weight = rows[a][b] + rows[b][a]; a != b && weight > 0)
                traffic.of[a].push_back({.to = b, .weight = weight});
    return traffic;
}

} // namespace nestbed::topology
