#include "lab/inside/init.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/inside/host_link.hpp"
#include "lab/job.hpp"
#include "lab/modules.hpp"
#include "lab/paths.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;

constexpr const char* console_device = "/dev/ttyS0";
constexpr const char* frames_device = "/dev/ttyS1";

Status mount_all() {
    struct Mount {
        const char* type;
        const char* target;
    };
    // /tmp stays what the initramfs made of it: the command's input may be there.
    ::mkdir("/tmp", 01777);
    for (const auto& [type, target] : {Mount{"proc", "/proc"}, Mount{"sysfs", "/sys"},
                                       Mount{"devtmpfs", "/dev"}, Mount{"tmpfs", "/dev/shm"}}) {
        ::mkdir(target, 0755);
        if (::mount(type, target, type, 0, nullptr) != 0 &&
            errno != EBUSY) // the kernel may have mounted /dev
            return fail_errno(ErrorKind::host_lacks, fmt::format("mount {} in the emulated machine", target),
                              "use a kernel that has it built in");
    }
    return {};
}

Result<Job> read_job() {
    std::ifstream file{job_path, std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    return parse_job(text);
}

std::string kernel_command_line() {
    std::ifstream file{"/proc/cmdline"};
    return {std::istreambuf_iterator<char>{file}, {}};
}

Status load_module(const std::string& path) {
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    const auto parameters = module_parameters(kernel_command_line(), module_name(path));
    if (file && ::syscall(SYS_finit_module, file.get(), parameters.c_str(), 0) == 0)
        return {};
    if (errno == EEXIST) // built in
        return {};
    return fail_errno(ErrorKind::host_lacks,
                      fmt::format("load the kernel module {} in the emulated machine", path),
                      "give the modules that were built with the kernel (--kernel, --modules)");
}

// Whoever has been in the result folders before the command is not a result of it.
using Snapshot = std::map<fs::path, std::pair<std::int64_t, std::int64_t>>; // size, time of change in ns

std::optional<std::pair<std::int64_t, std::int64_t>> regular_file(const fs::path& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode))
        return std::nullopt;
    return std::pair{info.st_size, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
}

Snapshot look_at(const std::vector<std::string>& roots) {
    Snapshot seen;
    const auto add = [&](const fs::path& path) {
        if (const auto state = regular_file(path))
            seen.emplace(path, *state);
    };
    for (const auto& root : roots) {
        add(root);
        std::error_code error;
        if (!fs::is_directory(root, error))
            continue;
        auto at =
            fs::recursive_directory_iterator{root, fs::directory_options::skip_permission_denied, error};
        for (; !error && at != fs::recursive_directory_iterator{}; at.increment(error))
            add(at->path());
    }
    return seen;
}

void send_results(HostLink& host, const std::vector<std::string>& roots, const Snapshot& before) {
    for (const auto& [path, state] : look_at(roots)) {
        const auto old = before.find(path);
        if (old != before.end() && old->second == state)
            continue;
        std::ifstream file{path, std::ios::binary};
        host.send(ResultFile{path.string(), {std::istreambuf_iterator<char>{file}, {}}});
    }
}

struct Stream {
    Fd fd;
    bool is_stderr = false;
};

class CommandRun {
public:
    CommandRun(HostLink& host, const Job& job) : _host{host}, _job{job} {}

    Status start() {
        std::array<int, 2> out{};
        std::array<int, 2> err{};
        if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0)
            return fail_errno(ErrorKind::host_lacks, "make pipes in the emulated machine");
        _streams[0] = {Fd{out[0]}, false};
        _streams[1] = {Fd{err[0]}, true};
        const Fd out_end{out[1]};
        const Fd err_end{err[1]};
        sigset_t ended;
        sigemptyset(&ended);
        sigaddset(&ended, SIGCHLD);
        ::sigprocmask(SIG_BLOCK, &ended, nullptr);
        _ended = Fd{::signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK)};
        _beat = Fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
        constexpr itimerspec every_second{.it_interval = {.tv_sec = 1, .tv_nsec = 0},
                                          .it_value = {.tv_sec = 1, .tv_nsec = 0}};
        if (!_ended || !_beat || ::timerfd_settime(_beat.get(), 0, &every_second, nullptr) != 0)
            return fail_errno(ErrorKind::host_lacks, "make a timer in the emulated machine");
        _pid = ::fork();
        if (_pid < 0)
            return fail_errno(ErrorKind::host_lacks, "start the command in the emulated machine");
        if (_pid == 0)
            become_command(out_end.get(), err_end.get());
        // Ahead of the command, or its threads could keep the heartbeat from being heard.
        ::setpriority(PRIO_PROCESS, 0, -20);
        return {};
    }

    // Until the command has ended and all that it wrote is on its way. Returns its exit code.
    int attend() {
        while (!_exit_code || open_streams() > 0) {
            // What still holds the pipes once the command has ended is its own affair.
            if (_exit_code && !wait(100))
                break;
            if (!_exit_code)
                wait(-1);
        }
        return *_exit_code;
    }

private:
    [[noreturn]] void become_command(int out, int err) const {
        sigset_t none;
        sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::setsid();
        ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(err, STDERR_FILENO);
        std::vector<std::string> words{"nestbed"};
        words.insert(words.end(), _job.arguments.begin(), _job.arguments.end());
        std::vector<std::string> variables;
        for (const auto& [name, value] : _job.environment)
            variables.push_back(fmt::format("{}={}", name, value));
        const auto pointers = [](std::vector<std::string>& texts) {
            std::vector<char*> list;
            for (auto& text : texts)
                list.push_back(text.data());
            list.push_back(nullptr);
            return list;
        };
        if (::chdir(_job.working_directory.c_str()) == 0)
            ::execve(program_path, pointers(words).data(), pointers(variables).data());
        std::perror("nestbed: start the command in the emulated machine");
        ::_exit(126);
    }

    [[nodiscard]] int open_streams() const {
        return static_cast<int>(
            std::ranges::count_if(_streams, [](const auto& stream) { return bool{stream.fd}; }));
    }

    // False where nothing happened.
    bool wait(int timeout_ms) {
        std::array<pollfd, 5> waiting{pollfd{_ended.get(), POLLIN, 0}, pollfd{_beat.get(), POLLIN, 0},
                                      pollfd{_host.fd(), POLLIN, 0}, pollfd{_streams[0].fd.get(), POLLIN, 0},
                                      pollfd{_streams[1].fd.get(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), timeout_ms) <= 0)
            return false;
        if (waiting[1].revents != 0) {
            std::uint64_t beats = 0;
            [[maybe_unused]] const auto got = ::read(_beat.get(), &beats, sizeof beats);
            _host.send(Heartbeat{});
        }
        if (waiting[2].revents != 0 && _host.take_interrupt() && !_exit_code)
            ::kill(_pid, SIGINT);
        bool heard = waiting[0].revents != 0;
        for (std::size_t i = 0; i < _streams.size(); ++i)
            if (waiting[3 + i].revents != 0) {
                forward(_streams[i]);
                heard = true;
            }
        if (waiting[0].revents != 0)
            reap();
        return heard;
    }

    void forward(Stream& stream) {
        std::array<char, max_frame_payload> block{};
        const auto got = ::read(stream.fd.get(), block.data(), block.size());
        if (got > 0)
            _host.send(Output{stream.is_stderr, {block.data(), static_cast<std::size_t>(got)}});
        else
            stream.fd = Fd{};
    }

    // The first process inherits all orphans.
    void reap() {
        signalfd_siginfo info{};
        while (::read(_ended.get(), &info, sizeof info) > 0) {
        }
        int status = 0;
        for (auto pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG))
            if (pid == _pid)
                _exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    HostLink& _host;
    const Job& _job;
    std::array<Stream, 2> _streams;
    Fd _ended; // SIGCHLD
    Fd _beat;
    pid_t _pid = 0;
    std::optional<int> _exit_code;
};

Result<int> run_job(HostLink& host, const Job& job) {
    for (const auto& module : job.modules)
        if (auto loaded = load_module(module); !loaded)
            return tl::unexpected{loaded.error()};
    if (::access("/dev/kvm", F_OK) != 0)
        return fail(
            ErrorKind::host_lacks, "find /dev/kvm in the emulated machine",
            "its kernel has not made it, so KVM for its processor is neither built in nor among the modules",
            "give the kernel's modules with --modules, or a kernel with CONFIG_KVM_AMD=y "
            "(CONFIG_KVM_INTEL=y for Intel silicon)");
    std::error_code error;
    fs::create_directories(job.working_directory, error);
    const auto before = look_at(job.result_roots);
    CommandRun command{host, job};
    if (auto started = command.start(); !started)
        return tl::unexpected{started.error()};
    const int exit_code = command.attend();
    send_results(host, job.result_roots, before);
    return exit_code;
}

[[noreturn]] void turn_off() {
    ::sync();
    ::reboot(RB_AUTOBOOT); // ends every emulator; to turn off takes ACPI
    while (true)
        ::pause();
}

} // namespace

bool is_init() {
    return ::getpid() == 1 && std::getenv(init_variable) != nullptr;
}

void run_as_init() {
    const auto mounted = mount_all();
    auto host = HostLink::open(frames_device, console_device);
    if (!host) {
        std::fprintf(stderr, "nestbed: %s\n", host.error().message().c_str()); // on the console
        turn_off();
    }
    utsname names{};
    ::uname(&names);
    host->send(Hello{names.release});
    const auto ended = mounted ? read_job().and_then([&](const Job& job) { return run_job(*host, job); })
                               : Result<int>{tl::unexpected{mounted.error()}};
    if (ended)
        host->send(Exited{*ended});
    else
        host->send(Failed{ended.error()});
    host->drain();
    turn_off();
}

} // namespace nestbed::lab
