#include "stress/bench/child_process.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

Result<pid_t> spawn(const std::vector<std::string>& arguments, int out) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    // A group of its own, so that all of it can be ended; and none of our blocked signals.
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    std::vector<char*> argv;
    for (const auto& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str())); // posix_spawn() does not write to them
    argv.push_back(nullptr);
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return fail(ErrorKind::host_lacks, fmt::format("start {}", arguments.at(0)), errno_text(error),
                    "give the path of a program that can be run");
    return pid;
}

int decode(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// SIGINT and SIGTERM as a descriptor, so that whoever ends the benchmark ends its child with it.
class Signals {
public:
    Signals() {
        sigemptyset(&_set);
        sigaddset(&_set, SIGINT);
        sigaddset(&_set, SIGTERM);
        ::pthread_sigmask(SIG_BLOCK, &_set, &_before);
        _fd = Fd{::signalfd(-1, &_set, SFD_CLOEXEC)};
    }
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    Signals(Signals&&) = delete;
    Signals& operator=(Signals&&) = delete;
    ~Signals() { ::pthread_sigmask(SIG_SETMASK, &_before, nullptr); }

    [[nodiscard]] int fd() const { return _fd.get(); }

private:
    sigset_t _set{};
    sigset_t _before{};
    Fd _fd;
};

int end_group(pid_t pid) {
    ::kill(-pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    return status;
}

} // namespace

Result<ChildRun> run_child(const std::vector<std::string>& arguments, std::chrono::milliseconds deadline) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail_errno(ErrorKind::host_lacks, "make a pipe");
    const Fd in{ends[0]};
    std::optional<Fd> out{ends[1]};
    const Signals signals;
    const auto start = Clock::now();
    const auto pid = spawn(arguments, out->get());
    if (!pid)
        return tl::unexpected{pid.error()};
    out.reset();

    ChildRun run;
    std::string text;
    bool open = true; // its stdout; after that only its end is waited for
    for (int status = 0;;) {
        if (!open && ::waitpid(*pid, &status, WNOHANG) == *pid) {
            run.exit_code = decode(status);
            break;
        }
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(start + deadline - Clock::now()).count();
        if (left <= 0) {
            end_group(*pid);
            return fail(
                ErrorKind::deadline, fmt::format("run {}", fmt::join(arguments, " ")),
                fmt::format("no end within {:.0f} s", std::chrono::duration<double>(deadline).count()),
                "use a longer --timeout");
        }
        std::array<pollfd, 2> waiting{pollfd{signals.fd(), POLLIN, 0},
                                      pollfd{open ? in.get() : -1, POLLIN, 0}};
        const auto patience = open ? left : std::min<decltype(left)>(left, 5);
        if (::poll(waiting.data(), waiting.size(), static_cast<int>(patience)) <= 0)
            continue;
        if (waiting[0].revents != 0) {
            end_group(*pid);
            return fail(ErrorKind::cancelled, fmt::format("run {}", fmt::join(arguments, " ")),
                        "stopped by a signal");
        }
        std::array<char, 4096> buffer{};
        const auto got = ::read(in.get(), buffer.data(), buffer.size());
        open = got > 0;
        // What follows the first line is read, so that the child does not block, and forgotten.
        if (open && text.find('\n') == std::string::npos) {
            text.append(buffer.data(), static_cast<std::size_t>(got));
            if (text.find('\n') != std::string::npos)
                run.seconds_to_line = seconds_since(start);
        }
    }
    run.seconds_to_end = seconds_since(start);
    run.line = text.substr(0, text.find('\n'));
    return run;
}

} // namespace nestbed::bench
