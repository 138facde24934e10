#include "stress/sweep/vcpu_counts.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/units.hpp"
#include "stress/setup.hpp"

namespace nestbed::stress {

namespace {

tl::unexpected<Error> refuse(std::string_view item, std::string found) {
    return fail(ErrorKind::bad_input, fmt::format("--vcpus with \"{}\"", item), std::move(found),
                "write counts such as 1,2,4..max or 8..64:8");
}

Result<std::uint32_t> parse_one(std::string_view word, std::string_view item, std::uint32_t most) {
    if (word == "max")
        return most;
    const auto count = parse_count(word, "--vcpus", UINT32_MAX);
    if (!count)
        return refuse(item, fmt::format("\"{}\" is no count", word));
    if (*count == 0)
        return refuse(item, "a machine needs a vCPU");
    if (*count > most)
        return refuse(item, fmt::format("this KVM allows {} vCPUs", most));
    return static_cast<std::uint32_t>(*count);
}

// Of "first..last" and "first..last:step".
Result<std::vector<std::uint32_t>> parse_range(std::string_view item, std::size_t dots, std::uint32_t most) {
    auto tail = item.substr(dots + 2);
    std::uint32_t step = 0; // 0: doubling
    if (const auto colon = tail.find(':'); colon != std::string_view::npos) {
        const auto read = parse_count(tail.substr(colon + 1), "the step", most);
        if (!read || *read == 0)
            return refuse(item, "the step is no count");
        step = static_cast<std::uint32_t>(*read);
        tail = tail.substr(0, colon);
    }
    const auto first = parse_one(item.substr(0, dots), item, most);
    const auto last = first.and_then([&](std::uint32_t) { return parse_one(tail, item, most); });
    if (!last)
        return tl::unexpected{last.error()};
    if (*first > *last)
        return refuse(item, "a range ascends");
    std::vector<std::uint32_t> counts;
    for (std::uint64_t count = *first; count < *last; count += step == 0 ? count : step)
        counts.push_back(static_cast<std::uint32_t>(count));
    counts.push_back(*last);
    return counts;
}

} // namespace

Result<std::vector<std::uint32_t>> parse_vcpu_counts(std::string_view text, std::uint32_t most) {
    std::vector<std::uint32_t> counts;
    // A bit for each: a list that is typed by a program may be long.
    std::vector<bool> seen(std::size_t{most} + 1);
    for (;;) {
        const auto comma = text.find(',');
        const auto item = text.substr(0, comma);
        const auto dots = item.find("..");
        auto read = dots != std::string_view::npos ? parse_range(item, dots, most)
                                                   : parse_one(item, item, most).map([](std::uint32_t count) {
                                                         return std::vector<std::uint32_t>{count};
                                                     });
        if (!read)
            return read;
        for (const auto count : *read)
            if (!seen[count]) {
                seen[count] = true;
                counts.push_back(count);
            }
        if (comma == std::string_view::npos)
            return counts;
        text.remove_prefix(comma + 1);
    }
}

std::vector<std::uint32_t> default_vcpu_counts(std::uint32_t most) {
    const auto last = std::max(std::min(most, default_vcpus), 1U);
    std::vector<std::uint32_t> counts;
    for (std::uint32_t count = 1; count < last; count *= 2)
        counts.push_back(count);
    counts.push_back(last);
    return counts;
}

} // namespace nestbed::stress
