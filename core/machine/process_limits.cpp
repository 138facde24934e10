#include "core/machine/process_limits.hpp"

#include <algorithm>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

namespace nestbed::machine {

Status raise_open_files(std::uint64_t needed) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return fail_errno(ErrorKind::host_lacks, "read the limit of open files");
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= needed)
        return {};
    const rlimit wanted{needed, limit.rlim_max == RLIM_INFINITY ? RLIM_INFINITY
                                                                : std::max<rlim_t>(limit.rlim_max, needed)};
    if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0)
        return {};
    return fail(ErrorKind::host_lacks, fmt::format("open {} files", needed),
                fmt::format("at most {} are allowed (hard limit)", limit.rlim_max),
                fmt::format("`sudo prlimit --pid $$ --nofile={}` in this shell", needed));
}

std::optional<std::uint64_t> threads_allowed() {
    rlimit limit{};
    if (::geteuid() == 0 || ::getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return std::nullopt;
    return limit.rlim_cur;
}

Error thread_refused(std::string asked, int error, std::uint64_t needed,
                     std::optional<std::uint64_t> allowed) {
    // Everything else that the user runs counts as well.
    const auto roomy = needed * 4;
    if (allowed && *allowed < roomy)
        return {ErrorKind::host_lacks, std::move(asked),
                fmt::format("{}; this user may have {} threads in all, {} are needed here", errno_text(error),
                            *allowed, needed),
                fmt::format("`sudo prlimit --pid $$ --nproc={}` in this shell", roomy)};
    return {ErrorKind::host_lacks, std::move(asked),
            fmt::format("{}; {} threads are needed", errno_text(error), needed),
            "`nestbed check` shows which limit is too low (kernel.threads-max, kernel.pid_max, the cgroup's "
            "pids.max) and the command that raises it"};
}

} // namespace nestbed::machine
