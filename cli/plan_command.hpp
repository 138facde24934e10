// `nestbed plan`: the plan alone, for this machine or any other.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

void add_plan_command(CLI::App& app, Action& action);

} // namespace nestbed::cli
