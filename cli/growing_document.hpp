// The result document of a sweep, written while the sweep is on.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::cli {

// A sweep may take hours, and what it found must not depend on its end. But a document with matrices is
// large: it is written now and then, and at the end.
class GrowingDocument {
public:
    GrowingDocument(std::filesystem::path path, std::vector<std::string> command_line);

    Status write(report::RunResult so_far);
    // write() where it would take less than a twentieth of the time, and the last was some seconds ago.
    Status write_now_and_then(const report::RunResult& so_far);

private:
    using Clock = std::chrono::steady_clock;

    std::filesystem::path _path;
    std::vector<std::string> _command_line;
    Clock::time_point _last = Clock::now();
    Clock::duration _cost{0};
};

} // namespace nestbed::cli
