// The options by which every command that makes a plan is told which.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "stress/setup.hpp"

namespace nestbed::cli {

// As typed; read() gives them their meaning.
struct PlacementOptions {
    std::string vcpus;
    std::string memory;
    std::string policy = "numa";
    std::string page_size = "4K";
    std::string topology;
    std::string plan_file;
    std::string nested = "auto"; // see nested/profile.hpp
    // Of page_size, by add_to(): a default that was typed contradicts a plan file.
    const CLI::Option* page_size_option = nullptr;

    void add_to(CLI::App& command);
    // For commands that run a machine.
    void add_nested_to(CLI::App& command);

    // Reads the file that the policy or --plan names. Errors: bad_input.
    [[nodiscard]] Result<stress::MachineRequest> read() const;
};

} // namespace nestbed::cli
