#include "nested/conform/in_lab.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include <boost/fiber/fiber.hpp>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "base/units.hpp"
#include "nested/conform/stream.hpp"

namespace nestbed::conform {

namespace {

namespace fs = std::filesystem;

// Beyond what the tests may take by themselves: boot, and a machine that is slower than it should be.
constexpr std::chrono::minutes machine_overhead{10};
// A boot takes as long as this many tests.
constexpr std::size_t tests_worth_a_machine = 60;
constexpr std::size_t tests_worth_an_intel_machine = 150;
// Exit codes of a program that a signal ended are this and the signal.
constexpr int killed = 128;
// What QEMU takes of the host, less than what it tells its guest.
constexpr std::uint64_t memory_of_a_machine = 1 * GiB;

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

// A share of the tests, run in one emulated machine after another.
class Lane {
public:
    Lane(const ConformRequest& request, const lab::LabRequest& machine, supervise::Supervisor& supervisor,
         const LabObserver& observer, std::vector<const Case*> share,
         std::function<void(report::CheckResult)> accepted)
        : _request{request}, _machine{machine}, _supervisor{supervisor}, _observer{observer},
          _left{std::move(share)}, _accepted{std::move(accepted)} {
        // What is known to take the host down comes last, so that it costs others nothing.
        std::ranges::stable_partition(_left, [&](const Case* test) { return !known_to_crash(test->name); });
    }

    Status go() {
        // Every machine finishes a test or takes one down; anything else ends the run.
        while (!_left.empty()) {
            const auto before = _left.size();
            const auto deaths = _deaths;
            if (auto ran = one_machine(); !ran)
                return ran;
            if (_left.size() == before && _deaths == deaths)
                return fail(ErrorKind::check_failed, "run tests in the lab",
                            "a whole machine brought no result");
        }
        return {};
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
        machine.shape = lab::default_shape(machine.arguments, _machine.shape.silicon);
        machine.shape.cpu_flags = _machine.shape.cpu_flags;
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
        if (ended->exit_code > killed && !_running.empty() && !_supervisor.cancelled())
            return machine_ended({ErrorKind::check_failed,
                                  "run tests in the lab",
                                  fmt::format("the program inside was ended by signal {}, as the kernel "
                                              "does with one under which it meets a BUG of its own",
                                              ended->exit_code - killed),
                                  {}});
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
        // Where the host is busy a machine may not come up in time, though one has before.
        const bool was_late = error.kind == ErrorKind::deadline && (_has_results || !_running.empty());
        if (error.kind != ErrorKind::check_failed && !was_late)
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
        _has_results = true;
        _accepted(std::move(result));
    }

    const ConformRequest& _request;
    const lab::LabRequest& _machine;
    supervise::Supervisor& _supervisor;
    const LabObserver& _observer;
    std::vector<const Case*> _left;
    std::function<void(report::CheckResult)> _accepted;
    std::set<std::string> _running;
    bool _has_results = false;
    unsigned _deaths = 0;
    unsigned _idle_deaths = 0;
    std::map<std::string, unsigned> _deaths_under;
};

std::size_t processors() {
    cpu_set_t allowed{}; // fails where there are more than 1024, which is enough
    return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0
               ? static_cast<std::size_t>(CPU_COUNT(&allowed))
               : CPU_SETSIZE;
}

// MemAvailable of /proc/meminfo (proc(5)), in bytes.
std::uint64_t available_memory() {
    std::ifstream file{"/proc/meminfo"};
    std::string name;
    std::uint64_t kib = 0;
    for (std::string rest; file >> name >> kib && std::getline(file, rest);)
        if (name == "MemAvailable:")
            return kib * KiB;
    return 0;
}

// What the emulated CPU can have, but has for those tests only that need it: with vGIF, KVM leaves STGI and
// CLGI to the processor, and none would see what it does without.
bool needs_virtual_gif(const Case& test) {
    return std::ranges::find(test.needs, "vgif") != test.needs.end();
}

} // namespace

std::vector<Share> shares_of(const std::vector<Case>& cases, std::size_t machines) {
    const auto is_vmx = [](const Case& test) { return extension_of(test.name) == "vmx"; };
    const auto of_vmx = static_cast<std::size_t>(std::ranges::count_if(cases, is_vmx));
    const auto intel = std::clamp<std::size_t>(of_vmx / tests_worth_an_intel_machine, 1, machines);
    std::vector<Share> shares(intel, {.silicon = lab::Silicon::intel});
    shares.resize(intel + machines);
    Share special{.more_flags = "+vgif"};
    std::size_t next_intel = 0;
    std::size_t next_amd = 0;
    for (const auto& test : cases)
        (is_vmx(test)              ? shares[next_intel++ % intel]
         : needs_virtual_gif(test) ? special
                                   : shares[intel + next_amd++ % machines])
            .tests.push_back(&test);
    shares.push_back(std::move(special));
    std::erase_if(shares, [](const Share& share) { return share.tests.empty(); });
    return shares;
}

std::size_t machines_for(std::size_t cases, std::uint32_t jobs, std::size_t processors,
                         std::uint64_t available_memory) {
    if (jobs != 0)
        return std::clamp<std::size_t>(jobs, 1, std::max<std::size_t>(cases, 1));
    return std::clamp<std::size_t>(
        cases / tests_worth_a_machine, 1,
        std::max<std::size_t>(1, std::min<std::size_t>(processors, available_memory / memory_of_a_machine)));
}

report::RunResult conform_in_lab(const ConformRequest& request, const lab::LabRequest& machine,
                                 supervise::Supervisor& supervisor, const LabObserver& observer) {
    auto run = blank_run();
    const auto note = [&](const Status& status) {
        if (!status && !run.error)
            run.error = status.error();
    };
    const auto accepted = [&](report::CheckResult result) {
        complete(request, result);
        if (observer.conform.finished)
            observer.conform.finished(result);
        run.checks.push_back(std::move(result));
    };
    const auto lanes = machines_for(request.cases.size(), request.jobs, processors(), available_memory());
    const auto shares = shares_of(request.cases, lanes);
    const auto progress = [&](const std::string& what) {
        if (observer.progress)
            observer.progress(what);
    };
    for (const auto silicon : {lab::Silicon::intel, lab::Silicon::amd}) {
        auto one = machine;
        one.shape.silicon = silicon;
        if (lanes > 1 && std::ranges::count(shares, silicon, &Share::silicon) > 1)
            note(lab::fill_cache(one, progress, supervisor));
    }
    std::size_t next = 0;
    std::vector<boost::fibers::fiber> fibers;
    for (std::size_t lane = 0; lane < lanes; ++lane)
        fibers.emplace_back([&] {
            while (next < shares.size() && !run.error) {
                const auto& share = shares[next++];
                auto own = machine;
                own.shape.silicon = share.silicon;
                auto& flags = own.shape.cpu_flags;
                flags +=
                    flags.empty() || share.more_flags.empty() ? share.more_flags : "," + share.more_flags;
                note(Lane{request, own, supervisor, observer, share.tests, accepted}.go());
            }
        });
    for (auto& fiber : fibers)
        fiber.join();
    finish(request, run, observer.conform);
    return run;
}

} // namespace nestbed::conform
