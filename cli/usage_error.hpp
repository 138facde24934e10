// What a command line that cannot be read is answered with.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace nestbed::cli {

// What is wrong, and which command's --help to ask: the help itself, of many lines, would carry the message
// off the screen. Where a command is missing, the list of commands is what is looked for. A
// CLI::App::failure_message().
[[nodiscard]] std::string usage_error(const CLI::App* app, const CLI::Error& error);

} // namespace nestbed::cli
