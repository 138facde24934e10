#include "topology/trial.hpp"

#include <array>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::topology {

namespace {

constexpr char yes = 'y';
constexpr char no = 'n';

[[noreturn]] void be_the_child(const std::function<bool()>& body, unsigned seconds, int answer) {
    for (const int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGALRM})
        std::signal(number, SIG_DFL);
    constexpr rlimit nothing{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &nothing);
    if (const Fd null{::open("/dev/null", O_WRONLY | O_CLOEXEC)}; null)
        ::dup2(null.get(), STDERR_FILENO);
    ::alarm(seconds);
    const char verdict = body() ? yes : no;
    // Nothing of the parent's is to be flushed or destroyed here.
    ::_exit(::write(answer, &verdict, 1) == 1 ? 0 : 1);
}

} // namespace

TrialOutcome try_in_child(const std::function<bool()>& body, unsigned seconds) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return TrialOutcome::passed;
    const Fd from_child{ends[0]};
    Fd to_parent{ends[1]};
    const pid_t child = ::fork();
    if (child < 0)
        return TrialOutcome::passed;
    if (child == 0)
        be_the_child(body, seconds, to_parent.get());
    to_parent = Fd{}; // the child's is the last: its death ends the pipe
    char verdict = 0;
    ssize_t got = -1;
    do
        got = ::read(from_child.get(), &verdict, 1);
    while (got < 0 && errno == EINTR);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (got != 1)
        return TrialOutcome::died;
    return verdict == yes ? TrialOutcome::passed : TrialOutcome::failed;
}

} // namespace nestbed::topology
