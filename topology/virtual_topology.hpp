// The topology that the guest is shown: a shape and the APIC ids that follow from it.
//
// An APIC id has one bit field per level, each wide enough for that level's count (SDM volume 3,
// "Hierarchical Mapping of Shared Resources and Processor Topology"; APM volume 3, appendix E). Where a
// count is no power of two the ids have gaps, and a topology-aware guest needs those gaps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed::topology {

// Counts per level above it: sockets, dies per socket, cores per die, threads per core.
struct Shape {
    std::uint32_t sockets = 1;
    std::uint32_t dies = 1;
    std::uint32_t cores = 1;
    std::uint32_t threads = 1;

    bool operator==(const Shape&) const = default;
};

// Where a vCPU sits in the shape; each field counts from 0 within the level above.
struct Position {
    std::uint32_t socket = 0;
    std::uint32_t die = 0;
    std::uint32_t core = 0;
    std::uint32_t thread = 0;

    bool operator==(const Position&) const = default;
};

// Width in bits of each level's field; the socket has what is left.
struct FieldWidths {
    unsigned thread = 0;
    unsigned core = 0;
    unsigned die = 0;

    [[nodiscard]] constexpr unsigned core_shift() const { return thread; }
    [[nodiscard]] constexpr unsigned die_shift() const { return thread + core; }
    [[nodiscard]] constexpr unsigned socket_shift() const { return thread + core + die; }

    bool operator==(const FieldWidths&) const = default;
};

// "S", "SxC", "SxCxT" or "SxDxCxT" (a single number is one socket with that many cores), or the named form
// "sockets=8,dies=1,cores=18,threads=2" with any subset in any order. Errors: bad_input for zero, for
// text that is neither, and for shapes of more than 2^20 vCPUs.
[[nodiscard]] Result<Shape> parse_shape(std::string_view text);

// "8x1x18x2", the form with four numbers, which parse_shape() reads back.
[[nodiscard]] std::string format_shape(const Shape& shape);

[[nodiscard]] std::uint64_t vcpu_count(const Shape& shape);

[[nodiscard]] FieldWidths field_widths(const Shape& shape);

// Threads count fastest. `vcpu` is below vcpu_count(shape).
[[nodiscard]] Position position_of(const Shape& shape, std::uint32_t vcpu);

[[nodiscard]] std::uint32_t apic_id_of(const Shape& shape, std::uint32_t vcpu);

// The id of the last vCPU, which is the largest.
[[nodiscard]] std::uint32_t max_apic_id(const Shape& shape);

} // namespace nestbed::topology
