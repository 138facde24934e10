// What came of one check or one point of a sweep.
#pragma once

#include <optional>
#include <string_view>

namespace nestbed::report {

enum class Verdict {
    pass,
    fail,
    skipped,        // cannot be judged on this host or was not asked for
    not_run,        // was to run, but something before it ended the run
    hang,           // gave no answer in time
    crash,          // took its machine down
    not_applicable, // what it is about is not there; the reason says what
};

[[nodiscard]] std::string_view to_string(Verdict verdict);
// to_string() backwards; empty for any other word.
[[nodiscard]] std::optional<Verdict> parse_verdict(std::string_view word);

// Whether a verdict is one that makes a run fail, unless it was expected.
[[nodiscard]] bool is_bad(Verdict verdict);

} // namespace nestbed::report
