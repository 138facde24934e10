// `nestbed bench`: figures next to what they are compared with.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

void add_bench_command(CLI::App& app, Action& action);
void add_bench_child_command(CLI::App& app, Action& action); // what bench starts, hidden

} // namespace nestbed::cli
