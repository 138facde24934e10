#include "stress/bench/child_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/first_error.hpp"
#include "base/printable.hpp"

namespace nestbed::bench {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t most_kept = 4096;     // bytes of the first line, and of the last output
constexpr std::size_t pipe_bytes = 1 << 16; // that a pipe holds (pipe(7)): what a child can leave behind
constexpr std::size_t lines_told = 3;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Pipe {
    Fd in;
    Fd out;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail_errno(ErrorKind::host_lacks, "make a pipe");
    Pipe pipe{Fd{ends[0]}, Fd{ends[1]}};
    if (::fcntl(pipe.in.get(), F_SETFL, O_NONBLOCK) != 0)
        return fail_errno(ErrorKind::host_lacks, "make a pipe that does not block");
    return pipe;
}

Result<pid_t> spawn(const std::vector<std::string>& arguments, int out, int err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    // A group of its own, so that all of it can be ended; and none of our blocked signals.
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
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

// A started program. One that was not waited for is killed with its group.
class Child {
public:
    explicit Child(pid_t pid) : _pid{pid} {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    Child(Child&&) = delete;
    Child& operator=(Child&&) = delete;
    ~Child() {
        if (_pid != 0)
            kill();
    }

    // With its group.
    int kill() {
        ::kill(-_pid, SIGKILL);
        return wait();
    }
    int wait() {
        const auto pid = std::exchange(_pid, 0);
        int status = 0;
        while (::waitpid(pid, &status, 0) == -1 && errno == EINTR) {
        }
        return decode(status);
    }

private:
    pid_t _pid;
};

// What a child prints, of which only the first line and the end are kept; the lines are shown to `on_line`.
class Output {
public:
    Output(Clock::time_point start, const OnLine& on_line) : _start{start}, _on_line{on_line} {}

    // What one read() gives; whether there may be more.
    bool read_stdout(int fd) {
        const auto bytes = read_some(fd);
        add_to_line(bytes);
        return !bytes.empty();
    }
    bool read_stderr(int fd) { return !read_some(fd).empty(); }
    // Whether read() has come to the end of a stream, which then needs no more polling.
    [[nodiscard]] bool at_end() const { return _at_end; }
    // Whether a line came after which nothing more is wanted.
    [[nodiscard]] bool is_enough() const { return _is_enough; }

    ChildRun take() {
        if (!_first_ended)
            _run.line = _line;
        return std::move(_run);
    }

private:
    std::string_view read_some(int fd) {
        const auto got = ::read(fd, _buffer.data(), _buffer.size());
        _at_end = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
        const std::string_view bytes{_buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
        auto& last = _run.last_output;
        last += bytes;
        last.erase(0, last.size() - std::min(last.size(), most_kept));
        return bytes;
    }

    void add_to_line(std::string_view bytes) {
        while (!bytes.empty() && !_is_enough) {
            const auto newline = bytes.find('\n');
            _line += bytes.substr(0, std::min(newline, most_kept - _line.size()));
            if (newline == std::string_view::npos)
                return;
            bytes.remove_prefix(newline + 1);
            take_line();
        }
    }
    void take_line() {
        const auto seconds = seconds_since(_start);
        if (!_first_ended) {
            _run.line = _line;
            _run.seconds_to_line = seconds;
            _first_ended = true;
        }
        if (_line.ends_with('\r'))
            _line.pop_back(); // a serial console's
        _is_enough = _on_line && !_on_line(_line, seconds);
        _line.clear();
    }

    Clock::time_point _start;
    std::array<char, most_kept> _buffer{};
    const OnLine& _on_line;
    ChildRun _run;
    std::string _line; // so far
    bool _first_ended = false;
    bool _is_enough = false;
    bool _at_end = false;
};

std::string last_words(std::string_view output) {
    const auto lines = last_lines(output, lines_told);
    return lines.empty() ? "; it printed nothing" : fmt::format("; it said: {}", fmt::join(lines, " | "));
}

} // namespace

Result<ChildRun> run_child(const std::vector<std::string>& arguments, std::chrono::milliseconds deadline,
                           const OnLine& on_line) {
    auto out = make_pipe();
    auto err = make_pipe();
    if (auto made = first_error(out, err); !made)
        return tl::unexpected{made.error()};
    const Signals signals;
    const auto start = Clock::now();
    const auto pid = spawn(arguments, out->out.get(), err->out.get());
    if (!pid)
        return tl::unexpected{pid.error()};
    Child child{*pid};
    out->out = {};
    err->out = {};
    // Its end, whoever else holds the pipes open.
    // <sys/pidfd.h> of glibc 2.36 has no C linkage, hence the bare call.
    const Fd ended{static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0))};
    if (!ended)
        return fail_errno(ErrorKind::host_lacks, "wait for a program (pidfd_open)", "use Linux 5.3 or newer");

    const auto asked = [&] { return fmt::format("run {}", fmt::join(arguments, " ")); };
    Output output{start, on_line};
    std::array<pollfd, 4> waiting{pollfd{signals.fd(), POLLIN, 0}, pollfd{ended.get(), POLLIN, 0},
                                  pollfd{out->in.get(), POLLIN, 0}, pollfd{err->in.get(), POLLIN, 0}};
    auto& [signalled, end, prints, complains] = waiting;
    while (end.revents == 0 && !output.is_enough()) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(start + deadline - Clock::now()).count();
        if (left <= 0)
            return fail(ErrorKind::deadline, asked(),
                        fmt::format("no end within {:.3g} s{}",
                                    std::chrono::duration<double>(deadline).count(),
                                    last_words(output.take().last_output)),
                        "use a longer --timeout");
        constexpr decltype(left) most_at_once = 60'000;
        if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::min(left, most_at_once))) <= 0)
            continue;
        if (signalled.revents != 0) {
            // Taken, or it would come once more when it is no longer blocked.
            signalfd_siginfo taken{};
            [[maybe_unused]] const auto got = ::read(signals.fd(), &taken, sizeof taken);
            return fail(ErrorKind::cancelled, asked(), "stopped by a signal");
        }
        if (prints.revents != 0 && !output.read_stdout(prints.fd) && output.at_end())
            prints.fd = -1; // poll() passes over it
        if (complains.revents != 0 && !output.read_stderr(complains.fd) && output.at_end())
            complains.fd = -1;
    }
    const auto seconds_to_end = seconds_since(start);
    // What it left in the pipes, and no more: something that it started may print forever.
    for (std::size_t got = 0; got < pipe_bytes && output.read_stdout(out->in.get()); got += most_kept) {
    }
    for (std::size_t got = 0; got < pipe_bytes && output.read_stderr(err->in.get()); got += most_kept) {
    }
    auto run = output.take();
    run.seconds_to_end = seconds_to_end;
    run.exit_code = end.revents == 0 ? child.kill() : child.wait();
    return run;
}

std::string ending_text(const ChildRun& run) {
    // A shell says 128 + signal as well of what it ran.
    const int signal = run.exit_code - 128;
    const auto* const name = signal > 0 ? ::sigabbrev_np(signal) : nullptr;
    const auto how = name == nullptr ? fmt::format("exit code {}", run.exit_code)
                                     : fmt::format("exit code {} (SIG{})", run.exit_code, name);
    return fmt::format("{} after {:.2f} s{}", how, run.seconds_to_end, last_words(run.last_output));
}

} // namespace nestbed::bench
