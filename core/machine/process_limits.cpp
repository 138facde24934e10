#include "core/machine/process_limits.hpp"

#include <algorithm>

#include <sys/resource.h>

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

} // namespace nestbed::machine
