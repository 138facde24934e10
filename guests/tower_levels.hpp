// What the levels of a tower report, as values. Level 0 is this host; level 1 its guest; level 2 that one's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::guests {

inline constexpr unsigned fewest_levels = 2;
inline constexpr unsigned most_levels = 3;

// Of a level's guest, in bytes, in a tower of `levels`: the payload at the top needs little; Linux holds its
// initramfs, packed and unpacked, and all that stands on it.
[[nodiscard]] std::uint64_t level_memory(unsigned level, unsigned levels, std::uint32_t vcpus);

// "nestbed ..." as level 1 of `levels` is to run it, without the program. `results` is absolute, `seconds`
// what is left of the tower's time.
[[nodiscard]] std::vector<std::string> command_at_level_1(unsigned levels, std::uint32_t vcpus,
                                                          std::uint64_t seconds, const std::string& results);

// The checks in the result document of a command that ran at level `ran_at`, named for the level that they
// are about: "level2.ipi.unicast". That is the one above `ran_at`; a tower's document names levels by itself,
// counted from `ran_at`. Text comes out printable, `repeat` empty. Errors: bad_input where it is no document.
[[nodiscard]] Result<std::vector<report::CheckResult>> checks_of(const nlohmann::json& document,
                                                                 unsigned ran_at);

// Whether the command that ran at level `ran_at` ended well, by its exit code and its own words. `document`
// is null where it left none.
[[nodiscard]] report::CheckResult judge_command(const std::string& command, unsigned ran_at, int exit_code,
                                                const nlohmann::json& document);

struct LevelVerdict {
    unsigned level = 0;
    std::size_t held = 0;
    std::size_t failed = 0; // bad, and not known to be
    std::size_t not_judged = 0;

    bool operator==(const LevelVerdict&) const = default;
};

// By level, each that has a check.
[[nodiscard]] std::vector<LevelVerdict> verdicts_by_level(const std::vector<report::CheckResult>& checks);

} // namespace nestbed::guests
