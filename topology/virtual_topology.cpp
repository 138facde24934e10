#include "topology/virtual_topology.hpp"

#include <array>
#include <bit>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::topology {

namespace {

constexpr std::uint64_t max_vcpus_in_shape = 1U << 20;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const auto at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos)
            return parts;
        text.remove_prefix(at + 1);
    }
}

unsigned bits_for(std::uint32_t count) {
    return static_cast<unsigned>(std::bit_width(count - 1));
}

tl::unexpected<Error> refuse(std::string_view text, std::string why) {
    return fail(ErrorKind::bad_input, fmt::format("topology \"{}\"", text), std::move(why),
                "write SOCKETSxCORESxTHREADS such as 8x18x2, SOCKETSxDIESxCORESxTHREADS, or "
                "sockets=8,cores=18,threads=2");
}

std::uint32_t* level_by_name(Shape& shape, std::string_view name) {
    if (name == "sockets")
        return &shape.sockets;
    if (name == "dies")
        return &shape.dies;
    if (name == "cores")
        return &shape.cores;
    if (name == "threads")
        return &shape.threads;
    return nullptr;
}

Result<std::uint32_t> parse_level(std::string_view whole, std::string_view number) {
    const auto value = parse_count(number, "count", max_vcpus_in_shape);
    if (!value)
        return refuse(whole, fmt::format("\"{}\" is not a count up to {}", number, max_vcpus_in_shape));
    if (*value == 0)
        return refuse(whole, "a level with no members");
    return static_cast<std::uint32_t>(*value);
}

Result<Shape> parse_named(std::string_view text) {
    Shape shape;
    std::vector<std::string_view> seen;
    for (const auto part : split(text, ',')) {
        const auto equals = part.find('=');
        const auto name = part.substr(0, equals);
        auto* const level = level_by_name(shape, name);
        if (equals == std::string_view::npos || level == nullptr)
            return refuse(text, fmt::format("\"{}\" is none of sockets=, dies=, cores=, threads=", part));
        for (const auto earlier : seen)
            if (earlier == name)
                return refuse(text, fmt::format("{} given twice", name));
        seen.push_back(name);
        const auto value = parse_level(text, part.substr(equals + 1));
        if (!value)
            return tl::unexpected{value.error()};
        *level = *value;
    }
    return shape;
}

Result<Shape> parse_positional(std::string_view text) {
    const auto parts = split(text, 'x');
    if (parts.size() > 4)
        return refuse(text, fmt::format("{} levels, at most 4 exist", parts.size()));
    std::vector<std::uint32_t> counts;
    for (const auto part : parts) {
        const auto value = parse_level(text, part);
        if (!value)
            return tl::unexpected{value.error()};
        counts.push_back(*value);
    }
    switch (counts.size()) {
    case 1:
        return Shape{.cores = counts[0]};
    case 2:
        return Shape{.sockets = counts[0], .cores = counts[1]};
    case 3:
        return Shape{.sockets = counts[0], .cores = counts[1], .threads = counts[2]};
    default:
        return Shape{.sockets = counts[0], .dies = counts[1], .cores = counts[2], .threads = counts[3]};
    }
}

// The product without overflow, or nothing where it passes the limit.
std::optional<std::uint64_t> bounded_count(const Shape& shape) {
    std::uint64_t product = 1;
    for (const auto factor : std::array{shape.sockets, shape.dies, shape.cores, shape.threads}) {
        product *= factor;
        if (product > max_vcpus_in_shape)
            return std::nullopt;
    }
    return product;
}

} // namespace

Result<Shape> parse_shape(std::string_view text) {
    auto shape = text.find('=') != std::string_view::npos ? parse_named(text) : parse_positional(text);
    if (shape && !bounded_count(*shape))
        return refuse(text, fmt::format("more than {} vCPUs", max_vcpus_in_shape));
    return shape;
}

std::string format_shape(const Shape& shape) {
    return fmt::format("{}x{}x{}x{}", shape.sockets, shape.dies, shape.cores, shape.threads);
}

std::uint64_t vcpu_count(const Shape& shape) {
    return std::uint64_t{shape.sockets} * shape.dies * shape.cores * shape.threads;
}

FieldWidths field_widths(const Shape& shape) {
    return {.thread = bits_for(shape.threads), .core = bits_for(shape.cores), .die = bits_for(shape.dies)};
}

Position position_of(const Shape& shape, std::uint32_t vcpu) {
    Position position;
    position.thread = vcpu % shape.threads;
    vcpu /= shape.threads;
    position.core = vcpu % shape.cores;
    vcpu /= shape.cores;
    position.die = vcpu % shape.dies;
    position.socket = vcpu / shape.dies;
    return position;
}

std::uint32_t apic_id_of(const Shape& shape, std::uint32_t vcpu) {
    const auto widths = field_widths(shape);
    const auto at = position_of(shape, vcpu);
    return at.thread | at.core << widths.core_shift() | at.die << widths.die_shift() |
           at.socket << widths.socket_shift();
}

std::uint32_t max_apic_id(const Shape& shape) {
    return apic_id_of(shape, static_cast<std::uint32_t>(vcpu_count(shape) - 1));
}

} // namespace nestbed::topology
