#include "topology/watch.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/stat.h>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/text_file.hpp"

namespace nestbed::topology {

namespace {

constexpr std::size_t most_record_bytes = 16 * MiB;
constexpr std::size_t most_machines = 64;

std::string fd_folder(pid_t pid) {
    return fmt::format("/proc/{}/fd", pid);
}

// The links of open records, as paths that open them anew.
std::vector<std::string> records_of(pid_t pid, std::error_code& cannot) {
    std::vector<std::string> paths;
    const auto target = fmt::format("/memfd:{} (deleted)", record_name);
    for (auto entry = std::filesystem::directory_iterator{fd_folder(pid), cannot};
         !cannot && entry != std::filesystem::directory_iterator{}; entry.increment(cannot)) {
        std::error_code closed; // meanwhile
        if (std::filesystem::read_symlink(entry->path(), closed) == target && paths.size() < most_machines)
            paths.push_back(entry->path().string());
    }
    return paths;
}

} // namespace

Result<std::vector<FoundMachine>> find_machines(pid_t pid) {
    std::error_code cannot;
    const auto paths = records_of(pid, cannot);
    if (cannot)
        return fail(ErrorKind::host_lacks, fmt::format("look into process {}", pid), cannot.message(),
                    "name a nestbed that is running and yours");
    std::vector<FoundMachine> machines;
    for (const auto& path : paths) {
        struct stat seen {};
        const auto text = read_text_file(path, most_record_bytes);
        if (!text || ::stat(path.c_str(), &seen) != 0 || text->empty())
            continue; // closed meanwhile, or not written yet
        auto record = parse_record(*text);
        if (!record)
            return tl::unexpected{record.error()};
        machines.push_back({seen.st_ino, std::move(*record)});
    }
    return machines;
}

std::vector<pid_t> find_processes_with_machines() {
    std::vector<pid_t> pids;
    std::error_code cannot;
    for (auto entry = std::filesystem::directory_iterator{"/proc", cannot};
         !cannot && entry != std::filesystem::directory_iterator{}; entry.increment(cannot)) {
        const auto name = entry->path().filename().string();
        pid_t pid = 0;
        const auto [stop, code] = std::from_chars(name.data(), name.data() + name.size(), pid);
        std::error_code not_ours;
        if (code == std::errc{} && stop == name.data() + name.size() && !records_of(pid, not_ours).empty())
            pids.push_back(pid);
    }
    std::sort(pids.begin(), pids.end());
    return pids;
}

ThreadSample sample_thread(pid_t pid, pid_t tid, WithMigrations migrations) {
    const auto read = [&](const char* name, std::size_t most) {
        return read_text_file(fmt::format("/proc/{}/task/{}/{}", pid, tid, name), most)
            .value_or(std::string{});
    };
    ThreadSample sample;
    sample.processor = last_processor(read("stat", 4 * KiB));
    if (!sample.processor)
        return sample;
    sample.times = parse_schedstat(read("schedstat", 4 * KiB));
    if (migrations == WithMigrations::yes)
        sample.migrations = parse_migrations(read("sched", 64 * KiB));
    sample.affinity = read_affinity(tid).value_or(std::vector<std::uint32_t>{});
    return sample;
}

Result<std::vector<ObservedMemory>> sample_memory(pid_t pid, const MachineRecord& record, std::size_t most) {
    std::vector<ObservedMemory> seen;
    for (const auto& range : record.ranges) {
        // An address of another process: nothing here follows it.
        const auto* const start = reinterpret_cast<const std::byte*>(range.address);
        auto pages = observe_memory(range.virtual_node, start, range.bytes, range.page_bytes, most, pid);
        if (!pages)
            return tl::unexpected{pages.error()};
        seen.push_back(std::move(*pages));
    }
    return seen;
}

} // namespace nestbed::topology
