// What a process needs of its own limits to run many vCPUs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.hpp"

namespace nestbed::machine {

// Descriptors for a machine of this many vCPUs: one each, another each while statistics are read, and the
// VMM's own.
[[nodiscard]] constexpr std::uint64_t open_files_needed(std::uint32_t vcpus) {
    return std::uint64_t{vcpus} * 2 + 128;
}

// Raises the soft limit of open files to `needed` where it is lower (and the hard one where the process may).
// Errors: host_lacks with the command that raises it.
[[nodiscard]] Status raise_open_files(std::uint64_t needed);

// Threads for a machine of this many vCPUs: one each, those that prefault its memory, and the VMM's own.
[[nodiscard]] constexpr std::uint64_t threads_needed(std::uint64_t vcpus) {
    return vcpus + 64;
}

// Threads that this user may have (RLIMIT_NPROC); empty where there is no limit, or it does not hold for
// root.
[[nodiscard]] std::optional<std::uint64_t> threads_allowed();

// What to tell when the kernel refused a thread with `error`, as host_lacks with the command that mends it:
// `needed` of them are to be had, and `allowed` is what threads_allowed() says.
[[nodiscard]] Error thread_refused(std::string asked, int error, std::uint64_t needed,
                                   std::optional<std::uint64_t> allowed);

} // namespace nestbed::machine
