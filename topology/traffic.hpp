// How much the vCPUs of a guest have to say to each other: what a placement is to be good for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::topology {

// Symmetric: what two vCPUs say to each other in both directions together, in whatever unit it was counted
// (IPIs, cache lines, bytes); only proportions matter.
struct Traffic {
    struct Edge {
        std::uint32_t to = 0;
        double weight = 0; // above 0, finite

        bool operator==(const Edge&) const = default;
    };
    std::vector<std::vector<Edge>> of; // by vCPU; ascending in `to`, which is never the vCPU itself

    [[nodiscard]] std::uint32_t vcpus() const { return static_cast<std::uint32_t>(of.size()); }
    bool operator==(const Traffic&) const = default;
};

// A matrix is quadratic in them, and KVM on x86-64 ends there (KVM_MAX_VCPUS).
inline constexpr std::uint32_t max_traffic_vcpus = 4096;

// Which traffic: a pattern for any number of vCPUs, or one that was measured.
struct TrafficSource {
    enum Pattern {
        ring,          // each with the next, the last with the first
        pairs,         // 0 with 1, 2 with 3, ...
        groups,        // all to all within `count` groups of neighbours, as equal in size as can be
        client_server, // the first `count` vCPUs with every other one
        measured,      // a square matrix of numbers in a file
    };
    Pattern pattern = groups;
    std::uint32_t count = 1;
    std::string path;                        // of `measured`
    std::shared_ptr<const Traffic> matrix{}; // of `measured`, once it was read

    bool operator==(const TrafficSource&) const = default;
};

// "ring", "pairs", "groups:8", "client-server:2" or the name of a CSV file, which is not yet read and is told
// from a pattern by a slash or by ending in ".csv". Errors: bad_input, naming the patterns.
[[nodiscard]] Result<TrafficSource> parse_traffic_source(std::string_view text);
[[nodiscard]] std::string to_string(const TrafficSource& source);

// Effect: reads the file of a measured source, does nothing for a pattern. Errors: bad_input.
[[nodiscard]] Result<TrafficSource> read_traffic_source(TrafficSource source);

// A square matrix, row = from, column = to, lines of numbers with commas between; blank lines and lines that
// begin with '#' do not count, the diagonal is ignored. Errors: bad_input with line and column for what is no
// number, negative, infinite, above 1e15, and for matrices that are not square, empty, or of more than
// max_traffic_vcpus.
[[nodiscard]] Result<Traffic> parse_traffic_csv(std::string_view text);

// Errors: bad_input for more than max_traffic_vcpus, for a matrix of another size or one that was not read,
// and for more groups or servers than vCPUs.
[[nodiscard]] Result<Traffic> traffic_of(const TrafficSource& source, std::uint32_t vcpus);

} // namespace nestbed::topology
