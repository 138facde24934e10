#include "lab/cache.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include <boost/uuid/name_generator_sha1.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace nestbed::lab {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kept_of_a_kind = 4;
constexpr const char* run_prefix = "run.";

std::string digest(std::string_view key) {
    const boost::uuids::name_generator_sha1 generate{boost::uuids::ns::oid()};
    return boost::uuids::to_string(generate(key.data(), key.size()));
}

// Folders of runs that were killed: nobody holds their lock. One that was made just now may not have it yet.
void remove_abandoned(const fs::path& folder) {
    constexpr std::chrono::minutes surely_locked{1};
    std::error_code error;
    for (auto at = fs::directory_iterator{folder, error}; !error && at != fs::directory_iterator{};
         at.increment(error)) {
        std::error_code gone;
        if (!at->path().filename().string().starts_with(run_prefix) ||
            fs::file_time_type::clock::now() - fs::last_write_time(at->path(), gone) < surely_locked || gone)
            continue;
        const Fd lock{::open(at->path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0)
            fs::remove_all(at->path(), gone);
    }
}

} // namespace

Result<Cache> Cache::open(fs::path folder) {
    std::error_code cannot;
    fs::create_directories(folder, cannot);
    if (cannot)
        return fail(ErrorKind::bad_input, "make the cache " + folder.string(), cannot.message(),
                    "name another place with XDG_CACHE_HOME");
    remove_abandoned(folder);
    return Cache{std::move(folder)};
}

Result<Cache> Cache::open_default() {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return fs::path{value == nullptr ? "" : value};
    };
    // The XDG Base Directory Specification has relative paths ignored.
    if (const auto cache = variable("XDG_CACHE_HOME"); cache.is_absolute())
        return open(cache / "nestbed/lab");
    if (const auto home = variable("HOME"); home.is_absolute())
        return open(home / ".cache/nestbed/lab");
    return fail(ErrorKind::bad_input, "find a place for the cache",
                "neither XDG_CACHE_HOME nor HOME names a folder", "set XDG_CACHE_HOME");
}

Result<fs::path> Cache::get(std::string_view kind, std::string_view key,
                            const std::function<Status(const fs::path&)>& make) const {
    return get_entry(kind, key, false, make);
}

Result<fs::path> Cache::get_folder(std::string_view kind, std::string_view key,
                                   const std::function<Status(const fs::path&)>& fill) const {
    return get_entry(kind, key, true, fill);
}

fs::path Cache::keep(std::string_view kind, const fs::path& file) const {
    auto name = (_folder / fmt::format("{}-XXXXXX", kind)).string();
    const Fd place{::mkstemp(name.data())};
    std::error_code error;
    if (!place)
        return {};
    fs::rename(file, name, error);
    forget_old(kind);
    return error ? fs::path{} : fs::path{name};
}

Result<fs::path> Cache::get_entry(std::string_view kind, std::string_view key, bool is_folder,
                                  const std::function<Status(const fs::path&)>& make) const {
    auto entry = _folder / fmt::format("{}-{}", kind, digest(key));
    std::error_code error;
    if (fs::exists(entry, error)) {
        fs::last_write_time(entry, fs::file_time_type::clock::now(), error); // it is in use
        return entry;
    }
    // In a folder of its own, so that two at once do not write into each other's.
    const auto workplace = TemporaryFolder::make(_folder);
    if (!workplace)
        return tl::unexpected{workplace.error()};
    const auto made = workplace->path() / "new";
    if (is_folder)
        fs::create_directory(made, error);
    if (auto status = make(made); !status)
        return tl::unexpected{status.error()};
    fs::rename(made, entry, error);
    if (error && !fs::exists(entry)) // a folder that somebody else has just put there is as good
        return fail(ErrorKind::host_lacks, "keep " + entry.string(), error.message(),
                    "name another place with XDG_CACHE_HOME");
    forget_old(kind);
    return entry;
}

void Cache::forget_old(std::string_view kind) const {
    struct Entry {
        fs::file_time_type used;
        fs::path path;
    };
    std::vector<Entry> entries;
    std::error_code error;
    for (auto at = fs::directory_iterator{_folder, error}; !error && at != fs::directory_iterator{};
         at.increment(error))
        if (at->path().filename().string().starts_with(fmt::format("{}-", kind))) {
            std::error_code gone;
            const auto used = fs::last_write_time(at->path(), gone);
            if (!gone)
                entries.push_back({used, at->path()});
        }
    std::ranges::sort(entries, std::ranges::greater{}, &Entry::used);
    for (std::size_t i = kept_of_a_kind; i < entries.size(); ++i)
        fs::remove_all(entries[i].path, error);
}

Result<TemporaryFolder> TemporaryFolder::make(const fs::path& parent) {
    auto pattern = (parent / fmt::format("{}XXXXXX", run_prefix)).string();
    if (::mkdtemp(pattern.data()) == nullptr)
        return fail_errno(ErrorKind::bad_input, "make a folder in " + parent.string(),
                          "name another place with XDG_CACHE_HOME");
    Fd lock{::open(pattern.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (lock)
        ::flock(lock.get(), LOCK_EX | LOCK_NB);
    return TemporaryFolder{pattern, std::move(lock)};
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    if (!_path.empty())
        fs::remove_all(_path, ignored);
}

Result<std::string> file_identity(const fs::path& file) {
    struct stat info {};
    if (::stat(file.c_str(), &info) != 0)
        return fail_errno(ErrorKind::bad_input, "look at " + file.string());
    return fmt::format("{} {} {}.{:09} {}\n", file.string(), info.st_size, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec, info.st_ino);
}

} // namespace nestbed::lab
