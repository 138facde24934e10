// The result document of a sweep, written while the sweep is on.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::cli {

// A sweep may take hours, and what it found must not depend on its end. But a document with matrices is
// large: it is written now and then. Whoever finds it after the process was killed reads in `error` that the
// run did not end.
class GrowingDocument {
public:
    // `complete` adds what the sweep does not know: the command, and conclusions.
    using Complete = std::function<report::RunResult(report::RunResult)>;
    GrowingDocument(std::filesystem::path path, Complete complete);

    // Where it takes less than a twentieth of the time, and the last was some seconds ago.
    Status write_now_and_then(const report::RunResult& so_far);

private:
    using Clock = std::chrono::steady_clock;

    std::filesystem::path _path;
    Complete _complete;
    Clock::time_point _last = Clock::now();
    Clock::duration _cost{0};
};

} // namespace nestbed::cli
