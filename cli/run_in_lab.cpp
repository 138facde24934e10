#include "cli/run_in_lab.hpp"

#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "cli/output.hpp"

namespace nestbed::cli {

namespace {

void write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written <= 0) // a reader that has gone; the exit code is still worth having
            return;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

// One line on a terminal's stderr until the inside speaks; a line of its own in a pipe.
class Progress {
public:
    void show(const std::string& what) {
        if (is_terminal(STDERR_FILENO))
            write_all(STDERR_FILENO, "\r\x1b[K  ... " + what);
        else
            write_all(STDERR_FILENO, "  ... " + what + "\n");
        _shown = true;
    }
    void clear() {
        if (std::exchange(_shown, false) && is_terminal(STDERR_FILENO))
            write_all(STDERR_FILENO, "\r\x1b[K");
    }

private:
    bool _shown = false;
};

} // namespace

int run_in_lab(const lab::LabRequest& request, supervise::Supervisor& supervisor) {
    Progress progress;
    const auto ran = lab::run(request,
                              {.out =
                                   [&](std::string_view bytes) {
                                       progress.clear();
                                       write_all(STDOUT_FILENO, bytes);
                                   },
                               .err =
                                   [&](std::string_view bytes) {
                                       progress.clear();
                                       write_all(STDERR_FILENO, bytes);
                                   },
                               .progress = [&](const std::string& what) { progress.show(what); },
                               .again =
                                   [&](const Error& why) {
                                       progress.clear();
                                       complain(why);
                                       write_all(STDERR_FILENO, "nestbed: once more, from the beginning\n");
                                   }},
                              supervisor);
    progress.clear();
    if (!ran)
        return complain(ran.error());
    for (const auto& mishap : ran->mishaps)
        complain(mishap);
    // A result that did not come over is no success.
    return ran->exit_code == 0 && !ran->mishaps.empty() ? exit_code(ErrorKind::check_failed) : ran->exit_code;
}

} // namespace nestbed::cli
