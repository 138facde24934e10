#include "stress/bench/race.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "base/line_pattern.hpp"
#include "stress/bench/child_process.hpp"

namespace nestbed::bench {

namespace {

double seconds(std::chrono::milliseconds duration) {
    return std::chrono::duration<double>(duration).count();
}

// What a command is called by: "lkvm" of `/opt/bin/lkvm run ...`.
std::string name_of(const std::string& command) {
    return std::filesystem::path{command.substr(0, command.find(' '))}.filename().string();
}

class Race {
public:
    Race(const RaceRequest& request, std::vector<LinePattern> patterns)
        : _request{request}, _patterns{std::move(patterns)},
          _seconds(_patterns.size(), Samples(request.commands.size())),
          _late(_patterns.size(), std::vector<unsigned>(request.commands.size())) {}

    Status run(const Progress& progress) {
        const auto starts = static_cast<double>(_request.rounds * _request.commands.size());
        double started = 0;
        for (unsigned round = 1; round <= _request.rounds; ++round)
            for (std::size_t who = 0; who < _request.commands.size(); ++who) {
                progress(
                    fmt::format("race {} of {}: {}", round, _request.rounds, name_of(_request.commands[who])),
                    started++ / starts);
                if (auto ran = start(who); !ran)
                    return ran;
            }
        return {};
    }

    [[nodiscard]] std::vector<Figure> figures() const {
        std::vector<Figure> made;
        for (std::size_t line = 0; line < _patterns.size(); ++line)
            for (std::size_t other = 1; other < _request.commands.size(); ++other) {
                auto what = fmt::format("{} to {}, from the start to a line with \"{}\"",
                                        name_of(_request.commands[0]), name_of(_request.commands[other]),
                                        _request.lines[line]);
                for (const auto who : {std::size_t{0}, other})
                    if (_late[line][who] > 0)
                        what +=
                            fmt::format("; {} of {} starts of {} had none within {:.3g} s and count as that",
                                        _late[line][who], _seconds[line][who].size(),
                                        name_of(_request.commands[who]), seconds(_request.timeout));
                if (auto figure =
                        figure_of_pairs({.name = fmt::format("race/line-{}:command-{}", line + 1, other + 1),
                                         .unit = "s",
                                         .what = std::move(what),
                                         .target = 1},
                                        _seconds[line][0], _seconds[line][other]))
                    made.push_back(std::move(*figure));
            }
        return made;
    }

private:
    using Samples = std::vector<std::vector<double>>; // by command

    Status start(std::size_t who) {
        std::vector<double> reached;
        const auto run =
            run_child({"/bin/sh", "-c", _request.commands[who]}, _request.timeout,
                      [&](std::string_view line, double after) {
                          // One line may be more than one of them.
                          while (reached.size() < _patterns.size() && _patterns[reached.size()].matches(line))
                              reached.push_back(after);
                          return reached.size() < _patterns.size();
                      });
        const bool late = !run && run.error().kind == ErrorKind::deadline;
        if (!run && !late)
            return tl::unexpected{run.error()};
        if (!late && reached.size() < _patterns.size())
            return fail(ErrorKind::check_failed, fmt::format("race `{}`", _request.commands[who]),
                        fmt::format("it ended without a line with \"{}\": {}", _request.lines[reached.size()],
                                    ending_text(*run)),
                        "run it by hand to see all that it says; only its stdout counts");
        for (std::size_t line = 0; line < _patterns.size(); ++line) {
            const bool came = line < reached.size();
            _seconds[line][who].push_back(came ? reached[line] : seconds(_request.timeout));
            _late[line][who] += came ? 0 : 1;
        }
        return {};
    }

    const RaceRequest& _request;
    std::vector<LinePattern> _patterns;
    std::vector<Samples> _seconds;            // by line
    std::vector<std::vector<unsigned>> _late; // by line and command
};

} // namespace

Status run_race(const RaceRequest& request, const Progress& progress,
                const std::function<void(const Figure&)>& done) {
    if (request.commands.size() < 2 || request.lines.empty())
        return fail(ErrorKind::bad_input, "race commands",
                    fmt::format("{} of two or more --command, {} of one or more --line",
                                request.commands.size(), request.lines.size()),
                    "give each as often as needed: --command 'nestbed boot ...' --command 'lkvm run ...' "
                    "--line 'Linux version'");
    std::vector<LinePattern> patterns;
    for (const auto& line : request.lines) {
        auto pattern = LinePattern::compile(line);
        if (!pattern)
            return tl::unexpected{pattern.error()};
        patterns.push_back(std::move(*pattern));
    }
    Race race{request, std::move(patterns)};
    auto ran = race.run(progress);
    for (const auto& figure : race.figures())
        done(figure);
    return ran;
}

} // namespace nestbed::bench
