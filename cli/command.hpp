// One subcommand of nestbed.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace nestbed::cli {

// Set by the subcommand that was given; run after parsing. Returns the exit code.
using Action = std::function<int()>;

} // namespace nestbed::cli
