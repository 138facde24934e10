#include "cli/growing_document.hpp"

#include <utility>

#include "report/json.hpp"
#include "report/json_file.hpp"

namespace nestbed::cli {

GrowingDocument::GrowingDocument(std::filesystem::path path, std::vector<std::string> command_line)
    : _path{std::move(path)}, _command_line{std::move(command_line)} {}

Status GrowingDocument::write(report::RunResult so_far) {
    so_far.command_line = _command_line;
    const auto start = Clock::now();
    auto written = report::write_json_file(_path, report::to_json(so_far));
    _cost = Clock::now() - start;
    _last = Clock::now();
    return written;
}

Status GrowingDocument::write_now_and_then(const report::RunResult& so_far) {
    const auto since = Clock::now() - _last;
    return since < std::chrono::seconds{3} || since < 20 * _cost ? Status{} : write(so_far);
}

} // namespace nestbed::cli
