#include "cli/place_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/fd.hpp"
#include "cli/output.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/process.hpp"
#include "report/json_file.hpp"
#include "topology/watch.hpp"

namespace nestbed::cli {

namespace {

using supervise::Clock;

constexpr auto refresh = std::chrono::seconds{1};
constexpr std::size_t most_pages = 1024; // of a range, looked at once a refresh
constexpr std::size_t most_lines = 24;
constexpr std::size_t most_ended = 10'000;          // machines that are remembered; of a sweep all are
constexpr auto patience = std::chrono::seconds{10}; // until a command that is interrupted has ended

// What is watched: somebody's process, or one that was started for it.
struct Watched {
    pid_t pid = 0;
    Fd process; // a pidfd
    std::optional<lab::Process> child;
};

bool is_over(const Watched& watched) {
    pollfd asked{
        .fd = watched.child ? watched.child->fd() : watched.process.get(), .events = POLLIN, .revents = 0};
    return ::poll(&asked, 1, 0) == 1;
}

// Errors: those of Process::start().
Result<Watched> start_command(const std::vector<std::string>& arguments) {
    lab::Command command{.arguments = {"/proc/self/exe"}};
    command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
    // What it prints is not to stand in the middle of a table, or of JSON.
    const Fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    command.descriptors = {nothing.get(), STDERR_FILENO, STDERR_FILENO};
    auto child = lab::Process::start(command);
    if (!child)
        return tl::unexpected{child.error()};
    const auto pid = child->pid();
    return Watched{.pid = pid, .process = {}, .child = std::move(*child)};
}

// Errors: bad_input where there is no such process, or not one that has a machine.
Result<Watched> find_running(pid_t asked) {
    const auto pid = asked != 0 ? Result<pid_t>{asked} : only_one(topology::find_processes_with_machines());
    if (!pid)
        return tl::unexpected{pid.error()};
    Watched watched{
        .pid = *pid, .process = Fd{static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0))}, .child = {}};
    if (!watched.process)
        return fail(ErrorKind::bad_input, fmt::format("watch process {}", *pid), errno_text(errno),
                    "name a process that is running");
    return watched;
}

// The exit code of the command that was started, which is interrupted where it has not ended; 0 where none
// was.
int end_command(Watched& watched, supervise::Supervisor& supervisor) {
    if (!watched.child)
        return 0;
    const bool was_over = is_over(watched);
    if (!was_over)
        watched.child->interrupt();
    // Not awaited by the supervisor, which is cancelled where Ctrl-C is why it ends.
    pollfd ended{.fd = watched.child->fd(), .events = POLLIN, .revents = 0};
    ::poll(&ended, 1, static_cast<int>(std::chrono::milliseconds{patience}.count()));
    if (!was_over && !supervisor.cancelled())
        return 0; // by --duration, as was asked
    return watched.child->poll().value_or(exit_code(ErrorKind::deadline));
}

// Samples of one process, machine by machine.
class Watch {
public:
    explicit Watch(pid_t pid) : _pid{pid} {}

    // Machines that came and went, and where pages are. Errors: those of find_machines() and sample_memory()
    // while the process is there.
    Status look() {
        auto found = topology::find_machines(_pid);
        if (!found)
            return tl::unexpected{found.error()};
        for (auto at = _alive.begin(); at != _alive.end();) {
            const bool is_there = std::ranges::any_of(
                *found, [&](const auto& machine) { return machine.inode == at->machine.inode; });
            if (!is_there && _ended.size() < most_ended)
                _ended.push_back(std::move(at->machine));
            at = is_there ? at + 1 : _alive.erase(at);
        }
        for (auto& machine : *found)
            if (std::ranges::none_of(_alive,
                                     [&](const Live& live) { return live.machine.inode == machine.inode; }))
                _alive.push_back(
                    {{.inode = machine.inode,
                      .record = machine.record,
                      .vcpus = std::vector<topology::VcpuResidence>(machine.record.threads.size()),
                      .memory = {},
                      .seconds = 0},
                     Clock::now()});
        for (auto& live : _alive) {
            auto memory = topology::sample_memory(_pid, live.machine.record, most_pages);
            if (!memory)
                return tl::unexpected{memory.error()};
            live.machine.memory = *std::move(memory);
        }
        return {};
    }

    void sample(topology::WithMigrations migrations) {
        for (auto& [machine, since] : _alive) {
            for (std::size_t vcpu = 0; vcpu < machine.vcpus.size(); ++vcpu) {
                const auto& planned = machine.record.threads[vcpu];
                auto sample = topology::sample_thread(_pid, planned.tid, migrations);
                if (sample.processor)
                    machine.vcpus[vcpu] =
                        topology::add_sample(std::move(machine.vcpus[vcpu]), planned, std::move(sample));
            }
            machine.seconds = std::chrono::duration<double>(Clock::now() - since).count();
        }
    }

    [[nodiscard]] std::vector<const WatchedMachine*> machines() const {
        std::vector<const WatchedMachine*> all;
        for (const auto& machine : _ended)
            all.push_back(&machine);
        for (const auto& live : _alive)
            all.push_back(&live.machine);
        return all;
    }
    [[nodiscard]] std::vector<const WatchedMachine*> alive() const {
        std::vector<const WatchedMachine*> all;
        for (const auto& live : _alive)
            all.push_back(&live.machine);
        return all;
    }

private:
    struct Live {
        WatchedMachine machine;
        Clock::time_point since;
    };

    pid_t _pid;
    std::vector<Live> _alive;
    std::vector<WatchedMachine> _ended;
};

// What is shown while it is on: a table that is rewritten on a terminal, lines elsewhere.
class Display {
public:
    explicit Display(bool quiet) : _quiet{quiet}, _terminal{is_terminal(STDOUT_FILENO)} {}

    void show(const std::vector<const WatchedMachine*>& machines, double seconds) {
        if (_quiet)
            return;
        std::string text;
        for (const auto* const machine : machines) {
            text += fmt::format("{:.0f} s: {}\n", seconds, watch_line(*machine));
            if (_terminal)
                text += watch_table(*machine, most_lines);
        }
        print((_terminal && _lines > 0 ? fmt::format("\x1b[{}A\x1b[J", _lines) : "") + text);
        _lines = std::count(text.begin(), text.end(), '\n');
    }

private:
    bool _quiet;
    bool _terminal;
    std::ptrdiff_t _lines = 0;
};

bool has_drift(const WatchedMachine& machine) {
    return !topology::drift_of(machine.record, machine.vcpus, machine.memory).empty();
}

void tell_end(const std::vector<const WatchedMachine*>& machines) {
    constexpr std::size_t most_told = 20;
    const auto astray = std::ranges::count_if(machines, [](const auto* m) { return has_drift(*m); });
    print(fmt::format("{} machine{} watched, {} not as planned\n", machines.size(),
                      machines.size() == 1 ? "" : "s", astray));
    std::size_t told = 0;
    for (const auto* const machine : machines)
        if ((machines.size() == 1 || has_drift(*machine)) && told++ < most_told)
            print(watch_table(*machine, most_lines));
}

} // namespace

Result<pid_t> only_one(std::span<const pid_t> pids) {
    if (pids.size() == 1)
        return pids.front();
    return fail(ErrorKind::bad_input, "watch the nestbed that is running",
                pids.empty() ? std::string{"none has a machine now"}
                             : fmt::format("there are {}: {}", pids.size(), fmt::join(pids, ", ")),
                pids.empty() ? "start one, or name one with --pid that will have a machine"
                             : "name one with --pid");
}

int watch_places(const PlaceWatchOptions& options) {
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    auto watched = options.arguments.empty() ? find_running(options.pid) : start_command(options.arguments);
    if (!watched)
        return complain(watched.error());
    const std::chrono::milliseconds interval{static_cast<std::int64_t>(options.interval_s * 1000)};
    const auto start = Clock::now();
    const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    Watch watch{watched->pid};
    Display display{options.json};
    auto next_look = start;
    bool has_waited = false;
    while (!is_over(*watched)) {
        const bool look = Clock::now() >= next_look;
        if (look) {
            if (auto looked = watch.look(); !looked) {
                if (is_over(*watched))
                    break;
                return complain(looked.error());
            }
            // A machine may be there for less than that; its first moments are not to be missed.
            next_look = Clock::now() + (watch.alive().empty() ? interval : refresh);
        }
        watch.sample(look ? topology::WithMigrations::yes : topology::WithMigrations::no);
        if (look && watch.machines().empty() && !std::exchange(has_waited, true))
            remark(fmt::format("process {} has no machine at the moment\n", watched->pid));
        if (look)
            display.show(watch.alive(), seconds());
        if ((options.duration_s > 0 && seconds() >= options.duration_s) || (*supervisor)->cancelled())
            break;
        // Ends early where a signal comes, which is the usual end.
        [[maybe_unused]] const auto waited =
            (*supervisor)->await([] { return false; }, Clock::now() + interval, {});
    }
    const auto code = end_command(*watched, **supervisor);
    const auto machines = watch.machines();
    const bool drifted = std::ranges::any_of(machines, [](const auto* m) { return has_drift(*m); });
    if (options.json) {
        nlohmann::ordered_json document{
            {"pid", watched->pid}, {"seconds", seconds()}, {"machines", nlohmann::ordered_json::array()}};
        for (const auto* const machine : machines)
            document["machines"].push_back(watch_json(*machine));
        print(report::dump(document));
    } else {
        tell_end(machines);
    }
    return code != 0 ? code : drifted ? exit_code(ErrorKind::check_failed) : 0;
}

} // namespace nestbed::cli
