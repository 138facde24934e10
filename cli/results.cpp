#include "cli/results.hpp"

#include <cerrno>

#include <unistd.h>

#include "cli/output.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"

namespace nestbed::cli {

Result<std::filesystem::path> document_path(const std::string& directory) {
    std::error_code cannot;
    std::filesystem::create_directories(directory, cannot);
    if (cannot || ::access(directory.c_str(), W_OK) != 0)
        return fail(ErrorKind::bad_input, "write results into " + directory,
                    cannot ? cannot.message() : errno_text(errno), "name a folder of yours with -o DIR");
    return std::filesystem::path{directory} / "run.json";
}

int conclude(const report::RunResult& run, const std::filesystem::path& path, bool json,
             const std::function<void()>& tell) {
    const auto document = report::to_json(run);
    if (auto written = report::write_json_file(path, document); !written)
        return complain(written.error());
    int printed = 0;
    if (json)
        printed = print(report::dump(document));
    else
        tell();
    if (run.error && (!json || run.error->kind != ErrorKind::check_failed))
        complain(*run.error);
    return run.outcome == report::Outcome::passed ? printed : report::exit_code(run.outcome);
}

} // namespace nestbed::cli
