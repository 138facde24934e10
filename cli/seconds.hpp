// Seconds as people type them.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

namespace nestbed::cli {

inline constexpr double most_seconds = 1e9; // 30 years; later deadlines are beyond what clocks count

// Of what the validators below let pass.
inline std::chrono::milliseconds milliseconds_of(double seconds) {
    return std::chrono::milliseconds{static_cast<std::int64_t>(seconds * 1000)};
}

// Numbers from `least` to most_seconds; "nan" is none.
inline CLI::Validator seconds_from(double least) {
    return {[least](std::string& text) {
                double value = 0;
                const bool is_good = CLI::detail::lexical_cast(text, value) && value >= least &&
                                     value <= most_seconds; // false for NaN
                return is_good ? std::string{} : "\"" + text + "\" is no number of seconds up to 1e9";
            },
            "SECONDS"};
}
inline CLI::Validator no_or_more_seconds() {
    return seconds_from(0);
}
inline CLI::Validator some_seconds() {
    return seconds_from(0.001);
}

} // namespace nestbed::cli
