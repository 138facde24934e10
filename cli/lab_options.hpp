// The options that say what machine is emulated, for the commands that emulate one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "lab/lab.hpp"

namespace nestbed::cli {

struct LabOptions {
    std::string kernel;
    std::string modules;
    std::string append;
    std::string cpu_flags;
};

// `group` is the heading in the help.
void add_lab_options(CLI::App& command, LabOptions& options, const std::string& group);

// What they ask for, in a request that has defaults otherwise.
[[nodiscard]] lab::LabRequest to_request(const LabOptions& options);

// The same options again, as words of a command line.
[[nodiscard]] std::vector<std::string> to_words(const LabOptions& options);

} // namespace nestbed::cli
