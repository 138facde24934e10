// What the inside of the emulated machine is to do: written by the outside into the initramfs.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::lab {

inline constexpr const char* program_path = "/usr/bin/nestbed"; // inside
inline constexpr const char* job_path = "/lab/job.json";
// Set for the first process, so that the program knows that it is the one. Not an argument: what the kernel
// does not know of its command line becomes arguments too.
inline constexpr const char* init_variable = "NESTBED_LAB_INIT";

struct Job {
    std::vector<std::string> arguments; // of nestbed
    std::map<std::string, std::string> environment;
    std::string working_directory;
    std::vector<std::string> result_roots; // files and folders that go back
    std::vector<std::string> modules;      // paths, in the order to load them in
};

[[nodiscard]] std::string to_text(const Job& job);
// Errors: bad_input.
[[nodiscard]] Result<Job> parse_job(std::string_view text);

} // namespace nestbed::lab
