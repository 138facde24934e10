#include "topology/traffic.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/text_file.hpp"

namespace nestbed::topology {

namespace {

constexpr std::string_view patterns =
    "choose ring, pairs, groups:K, client-server:S, or the name of a CSV file (FILE.csv or with a slash)";

tl::unexpected<Error> refuse(std::string_view text, std::string why) {
    return fail(ErrorKind::bad_input, fmt::format("traffic \"{}\"", text), std::move(why),
                std::string{patterns});
}

Result<TrafficSource> counted(std::string_view text, TrafficSource::Pattern pattern,
                              std::string_view number) {
    const auto count = parse_count(number, "count", max_traffic_vcpus);
    if (!count || *count == 0)
        return refuse(text, fmt::format("\"{}\" is not a count from 1 to {}", number, max_traffic_vcpus));
    return TrafficSource{.pattern = pattern, .count = static_cast<std::uint32_t>(*count), .path = {}};
}

bool names_a_file(std::string_view text) {
    return text.find('/') != std::string_view::npos || text.ends_with(".csv");
}

void connect(Traffic& traffic, std::uint32_t a, std::uint32_t b) {
    traffic.of[a].push_back({.to = b, .weight = 1});
    traffic.of[b].push_back({.to = a, .weight = 1});
}

Traffic ring_of(std::uint32_t vcpus) {
    Traffic traffic{.of = std::vector<std::vector<Traffic::Edge>>(vcpus)};
    for (std::uint32_t i = 0; i + 1 < vcpus; ++i)
        connect(traffic, i, i + 1);
    if (vcpus > 2)
        connect(traffic, vcpus - 1, 0);
    return traffic;
}

Traffic pairs_of(std::uint32_t vcpus) {
    Traffic traffic{.of = std::vector<std::vector<Traffic::Edge>>(vcpus)};
    for (std::uint32_t i = 0; i + 1 < vcpus; i += 2)
        connect(traffic, i, i + 1);
    return traffic;
}

Traffic groups_of(std::uint32_t vcpus, std::uint32_t count) {
    Traffic traffic{.of = std::vector<std::vector<Traffic::Edge>>(vcpus)};
    const auto group = [&](std::uint32_t vcpu) { return std::uint64_t{vcpu} * count / vcpus; };
    for (std::uint32_t a = 0; a < vcpus; ++a)
        for (std::uint32_t b = a + 1; b < vcpus && group(a) == group(b); ++b)
            connect(traffic, a, b);
    return traffic;
}

Traffic servers_of(std::uint32_t vcpus, std::uint32_t count) {
    Traffic traffic{.of = std::vector<std::vector<Traffic::Edge>>(vcpus)};
    for (std::uint32_t server = 0; server < count; ++server)
        for (std::uint32_t client = count; client < vcpus; ++client)
            connect(traffic, server, client);
    return traffic;
}

} // namespace

Result<TrafficSource> parse_traffic_source(std::string_view text) {
    if (text == "ring" || text == "pairs")
        return TrafficSource{
            .pattern = text == "ring" ? TrafficSource::ring : TrafficSource::pairs, .count = 0, .path = {}};
    for (const auto& [head, pattern] :
         {std::pair<std::string_view, TrafficSource::Pattern>{"groups:", TrafficSource::groups},
          {"client-server:", TrafficSource::client_server}})
        if (text.starts_with(head))
            return counted(text, pattern, text.substr(head.size()));
    if (text.find('\0') != std::string_view::npos || !names_a_file(text))
        return refuse(text, "neither a pattern nor a CSV file");
    return TrafficSource{.pattern = TrafficSource::measured, .count = 0, .path = std::string{text}};
}

std::string to_string(const TrafficSource& source) {
    switch (source.pattern) {
    case TrafficSource::ring:
        return "ring";
    case TrafficSource::pairs:
        return "pairs";
    case TrafficSource::groups:
        return fmt::format("groups:{}", source.count);
    case TrafficSource::client_server:
        return fmt::format("client-server:{}", source.count);
    case TrafficSource::measured:
        return source.path;
    }
    return "unknown";
}

Result<TrafficSource> read_traffic_source(TrafficSource source) {
    if (source.pattern != TrafficSource::measured)
        return source;
    constexpr std::size_t max_bytes = 512 * MiB; // 4096 x 4096 numbers of 30 digits
    const auto text = read_text_file(source.path, max_bytes);
    if (!text)
        return refuse(source.path, text.error().found);
    auto matrix = parse_traffic_csv(*text);
    if (!matrix) {
        auto error = matrix.error();
        error.asked = fmt::format("traffic matrix {}", source.path);
        return tl::unexpected{std::move(error)};
    }
    source.matrix = std::make_shared<const Traffic>(std::move(*matrix));
    return source;
}

Result<Traffic> traffic_of(const TrafficSource& source, std::uint32_t vcpus) {
    const auto asked = fmt::format("traffic {} between {} vCPUs", to_string(source), vcpus);
    if (vcpus > max_traffic_vcpus)
        return fail(ErrorKind::bad_input, asked,
                    fmt::format("a matrix has at most {} rows", max_traffic_vcpus),
                    "choose a policy without a matrix");
    const bool is_counted =
        source.pattern == TrafficSource::groups || source.pattern == TrafficSource::client_server;
    if (is_counted && (source.count == 0 || source.count > vcpus))
        return fail(ErrorKind::bad_input, asked,
                    source.count == 0 ? std::string{"a count of 0"} : "more of them than vCPUs",
                    fmt::format("use a count from 1 to {}", vcpus));
    switch (source.pattern) {
    case TrafficSource::ring:
        return ring_of(vcpus);
    case TrafficSource::pairs:
        return pairs_of(vcpus);
    case TrafficSource::groups:
        return groups_of(vcpus, source.count);
    case TrafficSource::client_server:
        return servers_of(vcpus, source.count);
    case TrafficSource::measured:
        break;
    }
    if (!source.matrix)
        return fail(ErrorKind::bad_input, asked, "the matrix was not read");
    if (source.matrix->vcpus() != vcpus)
        return fail(ErrorKind::bad_input, asked,
                    fmt::format("the matrix is of {} vCPUs", source.matrix->vcpus()),
                    fmt::format("use --vcpus {}, or another matrix", source.matrix->vcpus()));
    return *source.matrix;
}

} // namespace nestbed::topology
