#include "nested/conform/in_lab.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

#include "nested/conform/stream.hpp"

namespace nestbed::conform {

namespace {

namespace fs = std::filesystem;

// Beyond what the tests may take by themselves: boot, and a machine that is slower than it should be.
constexpr std::chrono::minutes machine_overhead{10};

// A file that is gone with the object.
class TemporaryFile {
public:
    static Result<TemporaryFile> with(const std::string& text) {
        auto name = (fs::temp_directory_path() / "nestbed-tests-XXXXXX").string();
        const int fd = ::mkstemp(name.data());
        if (fd < 0)
            return fail_errno(ErrorKind::host_lacks, "make a file in " + fs::temp_directory_path().string());
        ::close(fd);
        TemporaryFile file{name};
        std::ofstream out{file._path};
        out << text;
        if (!out.flush())
            return fail(ErrorKind::host_lacks, "write " + name, "the disk does not take it");
        return file;
    }
    TemporaryFile(TemporaryFile&& other) noexcept : _path{std::exchange(other._path, {})} {}
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        std::error_code ignored;
        if (!_path.empty())
            fs::remove(_path, ignored);
    }
    [[nodiscard]] const std::string& path() const { return _path; }

private:
    explicit TemporaryFile(std::string path) : _path{std::move(path)} {}
    std::string _path;
};

class LabRun {
public:
    LabRun(const ConformRequest& request, lab::LabRequest machine, supervise::Supervisor& supervisor,
           const LabObserver& observer)
        : _request{request}, _machine{std::move(machine)}, _supervisor{supervisor}, _observer{observer} {
        for (const auto& test : request.cases)
            _left.push_back(&test);
        // What is known to take the host down comes last, so that it costs others nothing.
        if (request.baseline)
            std::ranges::stable_partition(_left,
                                          [&](const Case* test) { return !known_to_crash(test->name); });
    }

    report::RunResult go() {
        _run = blank_run();
        // Every machine finishes a test or takes one down; anything else ends the run.
        while (!_left.empty() && !_run.error) {
            const auto before = _left.size();
            const auto deaths = _deaths;
            if (auto ran = one_machine(); !ran)
                _run.error = ran.error();
            else if (_left.size() == before && _deaths == deaths)
                _run.error = Error{
                    ErrorKind::check_failed, "run tests in the lab", "a whole machine brought no result", {}};
        }
        finish(_request, _run, _observer.conform);
        return std::move(_run);
    }

private:
    Status one_machine() {
        std::string names;
        for (const auto* const test : _left)
            names += test->name + "\n";
        const auto list = TemporaryFile::with(names);
        if (!list)
            return tl::unexpected{list.error()};
        auto machine = _machine;
        machine.arguments = {"conform",
                             "run",
                             "--where",
                             "host",
                             "--stream",
                             "--names",
                             list->path(),
                             "--timeout",
                             fmt::format("{}", std::chrono::duration<double>(_request.timeout).count())};
        if (_request.jobs != 0)
            machine.arguments.insert(machine.arguments.end(), {"--jobs", fmt::format("{}", _request.jobs)});
        machine.shape = lab::default_shape(machine.arguments);
        machine.timeout = machine_overhead + _left.size() * _request.timeout;
        machine.attempts = 1; // what has been heard is kept, so nothing is to be done twice

        _running.clear();
        std::string words; // on stderr: why it could not begin, for one
        StreamReader reader{[&](StreamEvent event) { take(std::move(event)); }};
        const auto ended =
            lab::run(machine,
                     {.out = [&](std::string_view bytes) { reader.feed(bytes); },
                      .err =
                          [&](std::string_view bytes) {
                              words.append(bytes.substr(0, 4096 - std::min<std::size_t>(words.size(), 4096)));
                          },
                      .progress =
                          [&](const std::string& what) {
                              if (_observer.progress)
                                  _observer.progress(what);
                          },
                      .again = [](const Error&) {}},
                     _supervisor);
        if (!ended)
            return machine_ended(ended.error());
        if (!_left.empty() && ended->exit_code != 0 && ended->exit_code != 1)
            return fail(_supervisor.cancelled() ? ErrorKind::cancelled
                        : ended->exit_code == 3 ? ErrorKind::host_lacks
                                                : ErrorKind::bad_input,
                        "run tests in the lab", words.empty() ? "it said nothing" : words);
        return {};
    }

    [[nodiscard]] bool known_to_crash(const std::string& name) const {
        if (!_request.baseline)
            return false;
        const auto known = _request.baseline->known.find(name);
        return known != _request.baseline->known.end() && known->second.verdict == "crash";
    }

    // The emulated host went down. Twice under the same test, that is the test's result; without a test it
    // may happen once in a run.
    Status machine_ended(const Error& error) {
        if (error.kind != ErrorKind::check_failed)
            return tl::unexpected{error};
        ++_deaths;
        if (_running.empty() && ++_idle_deaths > 1)
            return tl::unexpected{error};
        const auto guilty = std::exchange(_running, {});
        for (const auto& name : guilty) {
            const auto test =
                std::ranges::find_if(_left, [&](const Case* candidate) { return candidate->name == name; });
            if (test == _left.end())
                continue;
            // Emulated hosts die now and then through no fault of a test's.
            if (!known_to_crash(name) && ++_deaths_under[name] == 1)
                continue;
            report::CheckResult result;
            result.name = name;
            result.title = (*test)->title;
            result.reference = (*test)->reference;
            result.verdict = report::Verdict::crash;
            result.summary = "the emulated host went down under it";
            result.details = {error.message()};
            accept(std::move(result));
        }
        return {};
    }

    void take(StreamEvent event) {
        if (!event.result) {
            _running.insert(event.started);
            for (const auto* const test : _left)
                if (test->name == event.started && _observer.conform.started)
                    _observer.conform.started(*test);
            return;
        }
        // Those that did not run inside get another chance.
        if (event.result->verdict != report::Verdict::not_run)
            accept(std::move(*event.result));
    }

    void accept(report::CheckResult result) {
        const auto test = std::ranges::find_if(
            _left, [&](const Case* candidate) { return candidate->name == result.name; });
        if (test == _left.end())
            return; // a test that was not asked for, or one that answers twice
        _left.erase(test);
        _running.erase(result.name);
        complete(_request, result);
        if (_observer.conform.finished)
            _observer.conform.finished(result);
        _run.checks.push_back(std::move(result));
    }

    const ConformRequest& _request;
    lab::LabRequest _machine;
    supervise::Supervisor& _supervisor;
    const LabObserver& _observer;
    report::RunResult _run;
    std::vector<const Case*> _left;
    std::set<std::string> _running;
    unsigned _deaths = 0;
    unsigned _idle_deaths = 0;
    std::map<std::string, unsigned> _deaths_under;
};

} // namespace

report::RunResult conform_in_lab(const ConformRequest& request, const lab::LabRequest& machine,
                                 supervise::Supervisor& supervisor, const LabObserver& observer) {
    return LabRun{request, machine, supervisor, observer}.go();
}

} // namespace nestbed::conform
