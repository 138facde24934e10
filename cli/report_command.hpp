// `nestbed report`: runs as one HTML file.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

void add_report_command(CLI::App& app, Action& action);

} // namespace nestbed::cli
