// What a process needs of its own limits to run many vCPUs.
#pragma once

#include <cstdint>

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

} // namespace nestbed::machine
