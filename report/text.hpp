// A plan as text for people.
#pragma once

#include <string>

#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report {

enum class Verbosity {
    normal,  // tables and reasons are cut after some lines, saying how many more there are
    verbose, // no line is left out, and every PU and every vCPU has one of its own
};

// Lines of at most 100 columns (only a single word of a note or reason can be longer), the last one ended
// too. `host` is the one the plan was made for.
[[nodiscard]] std::string format_plan(const topology::Plan& plan, const topology::Host& host,
                                      Verbosity verbosity = Verbosity::normal);

} // namespace nestbed::report
