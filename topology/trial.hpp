// Code of others on input of others, tried where a crash costs nothing.
#pragma once

#include <functional>

namespace nestbed::topology {

enum class TrialOutcome {
    passed, // `body` returned true, or no child process could be made
    failed, // `body` returned false
    died,   // it crashed, or took longer than the deadline
};

// Runs `body` in a child process that has no stderr, dumps no core and ends after `seconds` of wall time. The
// child is gone when this returns. `body` must need no other thread of this process.
[[nodiscard]] TrialOutcome try_in_child(const std::function<bool()>& body, unsigned seconds);

} // namespace nestbed::topology
