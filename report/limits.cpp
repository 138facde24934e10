#include "report/limits.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/units.hpp"
#include "topology/text_file.hpp"

namespace nestbed::report {

namespace {

namespace fs = std::filesystem;

using Limit = std::optional<std::uint64_t>; // empty: unlimited
using Limits = std::map<std::string, Limit>;
using Names = std::pair<std::string_view, std::string_view>;

constexpr std::size_t enough = 64 * KiB;

// Outer optional: whether this is a limit at all.
std::optional<Limit> parse_limit(std::string_view text) {
    if (text == "unlimited" || text == "max")
        return Limit{};
    std::uint64_t value = 0;
    const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || stop != text.data() + text.size())
        return std::nullopt;
    return Limit{value};
}

// proc_pid_limits(5): "Max open files            1024                 524288               files".
Limits read_rlimits(const fs::path& sysroot) {
    constexpr std::array names{Names{"Max open files ", "nofile"}, Names{"Max processes ", "nproc"},
                               Names{"Max locked memory ", "memlock"}};
    Limits limits;
    std::istringstream lines{topology::read_text_file(sysroot / "proc/self/limits", enough).value_or("")};
    for (std::string line; std::getline(lines, line);)
        for (const auto& [title, name] : names) {
            if (!line.starts_with(title))
                continue;
            std::istringstream values{line.substr(title.size())};
            std::string soft;
            std::string hard;
            values >> soft >> hard;
            if (const auto limit = parse_limit(soft))
                limits.emplace(name, *limit);
            if (const auto limit = parse_limit(hard))
                limits.emplace(std::string{name} + "_hard", *limit);
        }
    return limits;
}

Limits read_sysctls(const fs::path& sysroot) {
    constexpr std::array files{Names{"kernel.threads-max", "kernel/threads-max"},
                               Names{"kernel.pid_max", "kernel/pid_max"},
                               Names{"vm.max_map_count", "vm/max_map_count"}};
    Limits limits;
    for (const auto& [name, file] : files)
        if (const auto value = topology::read_number_file(sysroot / "proc/sys" / file))
            limits.emplace(name, *value);
    return limits;
}

// Where this process's cgroup is: below `mount`, and `path` is relative to it.
struct CgroupPlace {
    fs::path mount;
    fs::path path;
};

bool lists(std::string_view controllers, std::string_view wanted) {
    while (!controllers.empty()) {
        const auto name = controllers.substr(0, controllers.find(','));
        if (name == wanted)
            return true;
        controllers.remove_prefix(std::min(name.size() + 1, controllers.size()));
    }
    return false;
}

// cgroups(7), /proc/PID/cgroup: "hierarchy:controllers:path", for version 2 "0::path". The version 1
// hierarchy wins, because a controller that is in one is not in version 2's.
std::optional<CgroupPlace> find_pids_cgroup(const fs::path& sysroot) {
    const auto root = sysroot / "sys/fs/cgroup";
    std::optional<CgroupPlace> place;
    std::istringstream lines{topology::read_text_file(sysroot / "proc/self/cgroup", enough).value_or("")};
    for (std::string line; std::getline(lines, line);) {
        const auto first = line.find(':');
        const auto second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos)
            continue;
        const auto controllers = std::string_view{line}.substr(first + 1, second - first - 1);
        const auto path = fs::path{line.substr(second + 1)}.relative_path();
        if (lists(controllers, "pids"))
            return CgroupPlace{.mount = root / "pids", .path = path};
        if (controllers.empty())
            place = CgroupPlace{.mount = root, .path = path};
    }
    return place;
}

// In a container the path may be the host's, or lead out of what is mounted: what does not exist is passed
// over on the way up, and the mount's own root is always asked.
Limits read_pids_max(const fs::path& sysroot) {
    const auto place = find_pids_cgroup(sysroot);
    if (!place)
        return {};
    std::optional<Limit> smallest;
    auto path = place->path.lexically_normal();
    if (!path.empty() && *path.begin() == "..")
        path.clear();
    for (;; path = path.parent_path()) {
        auto text = topology::read_text_file(place->mount / path / "pids.max", enough).value_or("");
        while (text.ends_with('\n'))
            text.pop_back();
        if (const auto limit = parse_limit(text)) {
            if (!smallest || !*smallest)
                smallest = *limit;
            else if (*limit)
                smallest = Limit{std::min(**smallest, **limit)};
        }
        if (path.empty())
            break;
    }
    return smallest ? Limits{{"cgroup.pids.max", *smallest}} : Limits{};
}

} // namespace

std::map<std::string, std::optional<std::uint64_t>> read_limits(const std::filesystem::path& sysroot) {
    auto limits = read_rlimits(sysroot);
    limits.merge(read_sysctls(sysroot));
    limits.merge(read_pids_max(sysroot));
    return limits;
}

} // namespace nestbed::report
