// Another program as a child: ended with whoever started it, waited for by descriptor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/supervise/supervisor.hpp"

namespace nestbed::lab {

struct Command {
    std::vector<std::string> arguments; // the first is a path, or a name for PATH
    std::string folder = {};            // to run in; empty: the caller's
    std::vector<std::pair<std::string, std::string>> environment = {}; // on top of the caller's
    std::vector<int> descriptors = {}; // these become 0, 1, 2, ... of the child
};

// Killed when it is destroyed, or when the thread that started it ends.
class Process {
public:
    // Errors: host_lacks where the program cannot be started.
    [[nodiscard]] static Result<Process> start(const Command& command);

    Process(Process&& other) noexcept = default;
    Process& operator=(Process&& other) = delete;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process();

    [[nodiscard]] pid_t pid() const noexcept { return _pid; }
    // Readable once the process has ended.
    [[nodiscard]] int fd() const noexcept { return _fd.get(); }
    void kill();
    void interrupt(); // SIGINT
    // The exit code, 128 + signal where one ended it, once it has ended; does not wait.
    [[nodiscard]] std::optional<int> poll();

private:
    Process(pid_t pid, Fd fd) : _pid{pid}, _fd{std::move(fd)} {}

    pid_t _pid;
    Fd _fd; // a pidfd; empty once moved from
    std::optional<int> _exit_code;
};

// Reads a descriptor, which must not block, in a fiber of its own until its end; each piece goes to `take`,
// and the supervisor is told of a change.
class Pump {
public:
    [[nodiscard]] static Result<std::unique_ptr<Pump>> start(int fd, supervise::Supervisor& supervisor,
                                                             std::function<void(std::string_view)> take);
    Pump(const Pump&) = delete;
    Pump& operator=(const Pump&) = delete;
    Pump(Pump&&) = delete;
    Pump& operator=(Pump&&) = delete;
    // Reads what is left, without waiting.
    ~Pump();

    [[nodiscard]] bool at_end() const noexcept { return _at_end; }

private:
    Pump(int fd, supervise::Readable readable, supervise::Supervisor& supervisor,
         std::function<void(std::string_view)> take);
    void drain();

    int _fd;
    supervise::Readable _readable;
    supervise::Supervisor& _supervisor;
    std::function<void(std::string_view)> _take;
    std::vector<char> _block = std::vector<char>(65536); // too much for a fiber's stack
    bool _at_end = false;
    bool _stop = false;
    boost::fibers::fiber _fiber;
};

struct Finished {
    int exit_code = 0;
    std::string out;
    std::string err;
};

// Runs a program to its end; of its stdout and stderr at most `max_output` bytes each are kept. Errors: as
// start(), cancelled, deadline; the program is ended then.
[[nodiscard]] Result<Finished> run_to_end(Command command, supervise::Supervisor& supervisor,
                                          supervise::Deadline deadline);

// The path of a program that PATH leads to; nothing where there is none.
[[nodiscard]] std::optional<std::string> find_program(std::string_view name);

} // namespace nestbed::lab
