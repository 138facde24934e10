// What `nestbed stress run` is told, and what it means.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "stress/sweep/sweep.hpp"

namespace nestbed::cli {

struct StressOptions {
    std::vector<std::string> drivers; // shell patterns
    std::string vcpus;
    std::string memory;
    double duration_s = 2;
    std::uint32_t repeat = 1;
    std::uint64_t seed = 1;
    std::string policies = "numa";
    std::string pages = "4K";
    std::string profiles = "auto";
    std::vector<std::string> topologies;
    std::string where = "auto";
    std::string directory = "results";
    double timeout_s = 0; // 0: scaled with the vCPUs
    std::string trace;    // file
    std::string metrics;  // address
    double sample_s = 1;  // of trace and metrics; 0: at the end of each machine alone
    bool json = false;
    std::vector<std::string> command_line;
};

// Profiles separated by commas, which they have themselves: "auto,svm:-npt,-vgif,off" are three.
[[nodiscard]] std::vector<std::string> split_profiles(std::string_view text);

// "a,b" as two words. Empty words are kept, to be refused by who knows what is meant.
[[nodiscard]] std::vector<std::string> split_list(std::string_view text);

// Reads the file that a policy names. Errors: bad_input.
[[nodiscard]] Result<stress::SweepConfiguration> read_configuration(const report::Configuration& asked,
                                                                    const std::string& memory);

// Every combination of what several were given of. Reads the files that policies name. Errors: bad_input.
[[nodiscard]] Result<stress::SweepRequest> read_stress_options(const StressOptions& options);

} // namespace nestbed::cli
