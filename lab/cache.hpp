// Files that are made once and used again.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace nestbed::lab {

class Cache {
public:
    // Under `folder`, which is made. Errors: bad_input where that cannot be.
    [[nodiscard]] static Result<Cache> open(std::filesystem::path folder);
    // ${XDG_CACHE_HOME:-~/.cache}/nestbed/lab.
    [[nodiscard]] static Result<Cache> open_default();

    [[nodiscard]] const std::filesystem::path& folder() const noexcept { return _folder; }

    // The path of "KIND-<digest of key>", which `make` writes where it is not there yet; whoever looks sees
    // the whole or nothing. A kind keeps its most recently used few. Errors: those of `make`, host_lacks.
    [[nodiscard]] Result<std::filesystem::path>
    get(std::string_view kind, std::string_view key,
        const std::function<Status(const std::filesystem::path& target)>& make) const;

    // As get(), but a folder that `fill` finds empty.
    [[nodiscard]] Result<std::filesystem::path>
    get_folder(std::string_view kind, std::string_view key,
               const std::function<Status(const std::filesystem::path& folder)>& fill) const;

    // Moves a file that is only for people to read into the cache, as "KIND-<its own>"; the last few stay. An
    // empty path where that fails.
    [[nodiscard]] std::filesystem::path keep(std::string_view kind, const std::filesystem::path& file) const;

private:
    explicit Cache(std::filesystem::path folder) : _folder{std::move(folder)} {}

    [[nodiscard]] Result<std::filesystem::path>
    get_entry(std::string_view kind, std::string_view key, bool is_folder,
              const std::function<Status(const std::filesystem::path&)>& make) const;
    void forget_old(std::string_view kind) const;

    std::filesystem::path _folder;
};

// A folder of its own for one run, removed with everything in it; that of a process which was killed is
// removed by Cache::open(), which knows it by its lock.
class TemporaryFolder {
public:
    // In `parent`. Errors: bad_input.
    [[nodiscard]] static Result<TemporaryFolder> make(const std::filesystem::path& parent);

    TemporaryFolder(TemporaryFolder&& other) noexcept
        : _path{std::exchange(other._path, {})}, _lock{std::move(other._lock)} {}
    TemporaryFolder& operator=(TemporaryFolder&&) = delete;
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder();

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return _path; }

private:
    TemporaryFolder(std::filesystem::path path, Fd lock) : _path{std::move(path)}, _lock{std::move(lock)} {}

    std::filesystem::path _path;
    Fd _lock;
};

// What tells a file from an older one of the same name: path, size, time of change, inode.
[[nodiscard]] Result<std::string> file_identity(const std::filesystem::path& file);

} // namespace nestbed::lab
