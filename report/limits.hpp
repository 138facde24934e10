// What this process may have of the kernel's countable things.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace nestbed::report {

// By name; empty value: unlimited. "nofile", "nproc" and "memlock" (bytes) are the soft limits of
// getrlimit(2) and the same with "_hard" the hard ones; "kernel.threads-max", "kernel.pid_max" and
// "vm.max_map_count" are sysctls; "cgroup.pids.max" is the smallest of this process's cgroup and all above.
// What cannot be read is left out. `sysroot` holds proc/ and sys/.
[[nodiscard]] std::map<std::string, std::optional<std::uint64_t>>
read_limits(const std::filesystem::path& sysroot);

} // namespace nestbed::report
