// Seeds as people type them.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace nestbed::cli {

// CLI11 reads "-1" as the largest number that there is.
inline CLI::Validator seed() {
    return {[](std::string& text) {
                return text.starts_with('-') ? "a seed is 0 or more, not " + text : std::string{};
            },
            "NUMBER"};
}

} // namespace nestbed::cli
