#include "lab/result_files.hpp"

#include <string>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "lab/paths.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;

constexpr int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

tl::unexpected<Error> cannot_write(const fs::path& path) {
    return fail_errno(ErrorKind::bad_input, "write the result " + path.string(), "name a folder of yours");
}

// The folder `below` `start`, made where it is not there.
Result<Fd> descend(Fd start, const fs::path& below, const fs::path& path) {
    for (const auto& name : below) {
        ::mkdirat(start.get(), name.c_str(), 0777);
        Fd next{::openat(start.get(), name.c_str(), folder_flags)};
        if (!next)
            return cannot_write(path);
        start = std::move(next);
    }
    return start;
}

Status write_whole(int folder, const std::string& name, std::string_view bytes, const fs::path& path) {
    const auto temporary = fmt::format(".{}.{}.new", name, ::getpid());
    ::unlinkat(folder, temporary.c_str(), 0);
    const Fd file{
        ::openat(folder, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666)};
    if (!file)
        return cannot_write(path);
    while (!bytes.empty()) {
        const auto written = ::write(file.get(), bytes.data(), bytes.size());
        if (written < 0) {
            auto status = cannot_write(path);
            ::unlinkat(folder, temporary.c_str(), 0);
            return status;
        }
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::renameat(folder, temporary.c_str(), folder, name.c_str()) != 0) {
        auto status = cannot_write(path);
        ::unlinkat(folder, temporary.c_str(), 0);
        return status;
    }
    return {};
}

} // namespace

Status store_result(const fs::path& path, std::string_view bytes, const std::vector<fs::path>& roots) {
    const auto* const root = root_of(path, roots);
    if (root == nullptr || !path.has_filename())
        return fail(ErrorKind::check_failed,
                    "take the result file " + path.string() + " from the emulated machine",
                    "it lies in no folder that the arguments name", "it was not written");
    // The root itself is the user's word, links and all.
    const auto start_path = path == *root ? root->parent_path() : *root;
    std::error_code error;
    fs::create_directories(start_path, error);
    Fd start{::open(start_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!start)
        return cannot_write(path);
    auto folder = descend(std::move(start), path.lexically_relative(start_path).parent_path(), path);
    if (!folder)
        return tl::unexpected{folder.error()};
    return write_whole(folder->get(), path.filename().string(), bytes, path);
}

} // namespace nestbed::lab
