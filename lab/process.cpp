#include "lab/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace nestbed::lab {

namespace {

constexpr std::size_t max_output = std::size_t{1} << 20U;
constexpr int first_free_descriptor = 64; // above those that a child is given

struct Pipe {
    Fd out; // to be read
    Fd in;

    static Result<Pipe> make() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0)
            return fail_errno(ErrorKind::host_lacks, "make a pipe", "raise `ulimit -n`");
        return Pipe{Fd{ends[0]}, Fd{ends[1]}};
    }
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (const auto& text : texts)
        list.push_back(const_cast<char*>(text.c_str())); // exec does not write to them
    list.push_back(nullptr);
    return list;
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& added) {
    std::vector<std::string> all;
    for (const auto& [name, value] : added)
        all.push_back(fmt::format("{}={}", name, value));
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto name = text.substr(0, text.find('='));
        bool replaced = false;
        for (const auto& pair : added)
            replaced = replaced || pair.first == name;
        if (!replaced)
            all.emplace_back(text);
    }
    return all;
}

// In the child: only what is safe between fork() and exec(), for another thread may hold any lock.
[[noreturn]] void become(const char* program, char* const* argv, char* const* environment, const char* folder,
                         const std::vector<int>& descriptors, pid_t parent, int report) {
    const auto give_up = [report] {
        const int number = errno;
        [[maybe_unused]] const auto written = ::write(report, &number, sizeof number);
        ::_exit(127);
    };
    // A group of its own: Ctrl-C is the parent's to handle. And it ends with the parent, even with a killed
    // one.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent)
        ::_exit(127);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    // First out of the way, since one may be where another is to go; the report is above them, close-on-exec.
    const int kept_report = ::fcntl(report, F_DUPFD_CLOEXEC, 2 * first_free_descriptor);
    std::array<int, first_free_descriptor> moved{};
    for (std::size_t i = 0; i < descriptors.size() && i < moved.size(); ++i)
        if ((moved[i] = ::fcntl(descriptors[i], F_DUPFD_CLOEXEC, first_free_descriptor)) < 0)
            give_up();
    for (std::size_t i = 0; i < descriptors.size() && i < moved.size(); ++i)
        ::dup2(moved[i], static_cast<int>(i));
    if (folder[0] == '\0' || ::chdir(folder) == 0)
        ::execve(program, argv, environment);
    const int number = errno;
    [[maybe_unused]] const auto written = ::write(kept_report, &number, sizeof number);
    ::_exit(127);
}

void set_nonblocking(int fd) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

} // namespace

Result<Process> Process::start(const Command& command) {
    const auto refuse = [&](std::string found) {
        return fail(ErrorKind::host_lacks, "start " + command.arguments.at(0), std::move(found));
    };
    const auto program = find_program(command.arguments.at(0));
    if (!program)
        return refuse("there is no such program");
    auto report = Pipe::make();
    if (!report)
        return tl::unexpected{report.error()};
    const auto argv = pointers(command.arguments);
    const auto variables = environment_with(command.environment);
    const auto environment = pointers(variables);
    const auto parent = ::getpid();
    const auto pid = ::fork();
    if (pid < 0)
        return refuse(errno_text(errno));
    if (pid == 0)
        become(program->c_str(), argv.data(), environment.data(), command.folder.c_str(), command.descriptors,
               parent, report->in.get());
    // Not pidfd_open(): glibc 2.36 declares it as if it were C++.
    Process process{pid, Fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}};
    if (!process._fd) {
        const int number = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return refuse(errno_text(number));
    }
    report->in = Fd{};
    int number = 0;
    if (::read(report->out.get(), &number, sizeof number) == static_cast<ssize_t>(sizeof number))
        return refuse(errno_text(number));
    return process;
}

Process::~Process() {
    if (!_fd)
        return;
    kill();
    while (!poll()) { // SIGKILL is not refused; its end is near
        pollfd ended{_fd.get(), POLLIN, 0};
        ::poll(&ended, 1, -1);
    }
}

void Process::kill() {
    if (!_exit_code)
        ::syscall(SYS_pidfd_send_signal, _fd.get(), SIGKILL, nullptr, 0);
}

void Process::interrupt() {
    if (!_exit_code)
        ::syscall(SYS_pidfd_send_signal, _fd.get(), SIGINT, nullptr, 0);
}

std::optional<int> Process::poll() {
    if (_exit_code)
        return _exit_code;
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(_fd.get()), &info, WEXITED | WNOHANG) != 0)
        _exit_code = 127; // somebody else has waited for it
    else if (info.si_pid != 0)
        _exit_code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    return _exit_code;
}

Result<std::unique_ptr<Pump>> Pump::start(int fd, supervise::Supervisor& supervisor,
                                          std::function<void(std::string_view)> take) {
    set_nonblocking(fd);
    auto readable = supervise::Readable::watch(fd);
    if (!readable)
        return tl::unexpected{readable.error()};
    return std::unique_ptr<Pump>{new Pump{fd, std::move(*readable), supervisor, std::move(take)}};
}

Pump::Pump(int fd, supervise::Readable readable, supervise::Supervisor& supervisor,
           std::function<void(std::string_view)> take)
    : _fd{fd}, _readable{std::move(readable)},
      _supervisor{supervisor}, _take{std::move(take)}, _fiber{[this] {
          while (!_at_end && !_stop) {
              [[maybe_unused]] const bool ready = _readable.wait_until(supervise::Deadline::max());
              drain();
              _supervisor.change();
          }
      }} {}

Pump::~Pump() {
    _stop = true;
    _readable.interrupt();
    _fiber.join();
}

void Pump::drain() {
    while (!_at_end) {
        const auto got = ::read(_fd, _block.data(), _block.size());
        if (got > 0)
            _take({_block.data(), static_cast<std::size_t>(got)});
        else if (got < 0 && errno == EINTR)
            continue;
        else if (got < 0 && errno == EAGAIN)
            return;
        else
            _at_end = true;
    }
}

Result<Finished> run_to_end(Command command, supervise::Supervisor& supervisor,
                            supervise::Deadline deadline) {
    auto out = Pipe::make();
    auto err = Pipe::make();
    if (!out || !err)
        return tl::unexpected{(out ? err : out).error()};
    const Fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    command.descriptors = {nothing.get(), out->in.get(), err->in.get()};
    auto process = Process::start(command);
    if (!process)
        return tl::unexpected{process.error()};
    out->in = Fd{};
    err->in = Fd{};
    Finished finished;
    const auto keep_in = [](std::string& kept) {
        return [&kept](std::string_view piece) {
            kept.append(piece.substr(0, max_output - std::min(kept.size(), max_output)));
        };
    };
    auto out_pump = Pump::start(out->out.get(), supervisor, keep_in(finished.out));
    auto err_pump = Pump::start(err->out.get(), supervisor, keep_in(finished.err));
    auto end_pump = supervise::Readable::watch(process->fd());
    if (!out_pump || !err_pump || !end_pump)
        return fail(ErrorKind::host_lacks, "watch " + command.arguments[0], "no descriptor left",
                    "raise `ulimit -n`");
    boost::fibers::fiber end{[&] {
        [[maybe_unused]] const bool ready = end_pump->wait_until(supervise::Deadline::max());
        supervisor.change();
    }};
    const auto ended =
        supervisor.await([&] { return process->poll() && (*out_pump)->at_end() && (*err_pump)->at_end(); },
                         deadline, "run " + command.arguments[0]);
    end_pump->interrupt();
    end.join();
    if (!ended)
        return tl::unexpected{ended.error()};
    finished.exit_code = process->poll().value_or(127);
    return finished;
}

std::optional<std::string> find_program(std::string_view name) {
    if (name.find('/') != std::string_view::npos)
        return std::string{name};
    const char* const path = std::getenv("PATH");
    std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
    while (!rest.empty()) {
        const auto end = std::min(rest.find(':'), rest.size());
        auto candidate = fmt::format("{}/{}", rest.substr(0, end), name);
        if (::access(candidate.c_str(), X_OK) == 0)
            return candidate;
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return std::nullopt;
}

} // namespace nestbed::lab
