// The options by which every command that makes a plan is told which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "topology/plan.hpp"

namespace nestbed::cli {

// As typed; read() gives them their meaning.
struct PlacementOptions {
    std::string vcpus;
    std::string memory;
    std::string policy = "numa";
    std::string page_size = "4K";
    std::string topology;

    void add_to(CLI::App& command);

    struct Values {
        std::optional<std::uint32_t> vcpus; // empty: not given
        bool all_vcpus = false;             // "max"
        std::optional<std::uint64_t> memory_bytes;
        topology::Policy policy = topology::Policy::numa;
        topology::PageSize page_size = topology::PageSize::base;
        std::optional<topology::Shape> shape;
    };
    // Errors: bad_input.
    [[nodiscard]] Result<Values> read() const;
};

} // namespace nestbed::cli
