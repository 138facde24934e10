// `nestbed place compare`: placements measured in rounds, and which of them is best for what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "report/place_comparison.hpp"
#include "report/run_result.hpp"
#include "stress/sweep/sweep.hpp"
#include "topology/host.hpp"
#include "topology/traffic.hpp"

namespace nestbed::cli {

struct PlaceCompareOptions {
    std::string policies = "compact,scatter,numa";
    std::string drivers = "c2c,ipi.pairs,memory,lock.ticket"; // shell patterns
    std::string vcpus;                                        // empty: one for each PU that may be used
    std::string memory;
    std::string topologies = "matching";
    std::string pages = "4K";
    std::string traffic; // empty: each driver's own
    double duration_s = 1;
    std::uint32_t repeat = 10;
    std::uint64_t seed = 1;
    std::string where = "auto";
    std::string directory = "results";
    bool json = false;
    std::vector<std::string> command_line;
};

struct PlaceRequest {
    stress::SweepRequest sweep;
    std::optional<std::uint32_t> vcpus;             // empty: as many as place_vcpus() says
    std::optional<topology::TrafficSource> traffic; // empty: each driver's own
};

// Reads the files that policies and --traffic name. Errors: bad_input.
[[nodiscard]] Result<PlaceRequest> read_place_options(const PlaceCompareOptions& options);

// One for each PU that may be used, 2 at least and `most` at most.
[[nodiscard]] std::uint32_t place_vcpus(const topology::Host& host, std::uint32_t most);

// A table for each driver, who won, and how well the scores foretold it.
[[nodiscard]] std::string place_text(const report::PlaceComparison& comparison);

// Returns the exit code.
int compare_places(const PlaceCompareOptions& options);

} // namespace nestbed::cli
