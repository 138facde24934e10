#include "lab/archive.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/units.hpp"

namespace nestbed::lab {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t block_bytes = 64 * KiB;

struct FreeReader {
    void operator()(archive* reader) const { ::archive_read_free(reader); }
};
struct FreeWriter {
    void operator()(archive* writer) const { ::archive_write_free(writer); }
};
struct FreeEntry {
    void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
using Reader = std::unique_ptr<archive, FreeReader>;
using Writer = std::unique_ptr<archive, FreeWriter>;
using Entry = std::unique_ptr<archive_entry, FreeEntry>;

std::string why(archive* handle) {
    const char* const text = ::archive_error_string(handle);
    return text == nullptr ? "no reason given" : text;
}

bool failed(la_int64_t status) {
    return status < ARCHIVE_WARN;
}

// The entry without its content; `path` without the first slash, as cpio has it.
Entry make_entry(std::string_view path, unsigned type, unsigned permissions, std::int64_t bytes) {
    Entry entry{::archive_entry_new()};
    ::archive_entry_set_pathname(entry.get(), std::string{path}.c_str());
    ::archive_entry_set_filetype(entry.get(), type);
    ::archive_entry_set_perm(entry.get(), permissions);
    ::archive_entry_set_size(entry.get(), bytes);
    return entry;
}

class InitramfsWriter {
public:
    explicit InitramfsWriter(const fs::path& target) : _target{target}, _writer{::archive_write_new()} {}

    Status open() {
        if (failed(::archive_write_set_format_cpio_newc(_writer.get())) ||
            failed(::archive_write_add_filter_none(_writer.get())) ||
            failed(::archive_write_open_filename(_writer.get(), _target.c_str())))
            return cannot_write();
        return {};
    }

    Status folder(std::string_view path) { return header(make_entry(path, AE_IFDIR, 0755, 0)); }

    Status console() {
        auto entry = make_entry("dev/console", AE_IFCHR, 0600, 0);
        ::archive_entry_set_rdevmajor(entry.get(), 5);
        ::archive_entry_set_rdevminor(entry.get(), 1);
        return header(std::move(entry));
    }

    Status file(const ArchiveFile& file) {
        std::int64_t bytes = static_cast<std::int64_t>(file.bytes.size());
        Fd source;
        if (!file.source.empty()) {
            source = Fd{::open(file.source.c_str(), O_RDONLY | O_CLOEXEC)};
            struct stat info {};
            if (!source || ::fstat(source.get(), &info) != 0)
                return fail_errno(ErrorKind::bad_input, "read " + file.source.string());
            bytes = info.st_size;
        }
        if (auto written = header(make_entry(std::string_view{file.path}.substr(1), AE_IFREG,
                                             file.executable ? 0755 : 0644, bytes));
            !written)
            return written;
        return source ? copy(source.get(), file.source, bytes) : data(file.bytes);
    }

    Status close() {
        if (failed(::archive_write_close(_writer.get())))
            return cannot_write();
        return {};
    }

private:
    Status header(Entry entry) {
        if (failed(::archive_write_header(_writer.get(), entry.get())))
            return cannot_write();
        return {};
    }

    Status data(std::string_view bytes) {
        if (::archive_write_data(_writer.get(), bytes.data(), bytes.size()) < 0)
            return cannot_write();
        return {};
    }

    Status copy(int source, const fs::path& name, std::int64_t bytes) {
        std::vector<char> block(block_bytes);
        while (bytes > 0) {
            const auto got =
                ::read(source, block.data(), std::min(block.size(), static_cast<std::size_t>(bytes)));
            if (got < 0)
                return fail_errno(ErrorKind::bad_input, "read " + name.string());
            if (got == 0)
                return fail(ErrorKind::bad_input, "read " + name.string(),
                            "it became shorter while it was read");
            if (auto written = data({block.data(), static_cast<std::size_t>(got)}); !written)
                return written;
            bytes -= got;
        }
        return {};
    }

    [[nodiscard]] tl::unexpected<Error> cannot_write() const {
        return fail(ErrorKind::host_lacks, "write the initramfs " + _target.string(), why(_writer.get()),
                    "is the disk full? XDG_CACHE_HOME and TMPDIR can name other places");
    }

    fs::path _target;
    Writer _writer;
};

// Copies an open entry's content.
Status save_entry(archive* reader, const fs::path& target) {
    std::error_code cannot;
    fs::create_directories(target.parent_path(), cannot);
    const Fd file{::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644)};
    if (!file)
        return fail_errno(ErrorKind::host_lacks, "write " + target.string());
    if (failed(::archive_read_data_into_fd(reader, file.get())))
        return fail(ErrorKind::host_lacks, "write " + target.string(), why(reader),
                    "is the disk full, or the package damaged?");
    return {};
}

// The tar archive that is a member of the package, read while the package is.
struct Member {
    archive* package = nullptr;
    std::vector<char> block = std::vector<char>(block_bytes);
};

la_ssize_t read_member(archive* tar, void* context, const void** bytes) {
    auto& member = *static_cast<Member*>(context);
    const auto got = ::archive_read_data(member.package, member.block.data(), member.block.size());
    if (got < 0) {
        ::archive_set_error(tar, EIO, "%s", why(member.package).c_str());
        return ARCHIVE_FATAL;
    }
    *bytes = member.block.data();
    return got;
}

Status unpack_tar(Member& member, const fs::path& package, const fs::path& folder,
                  const std::function<bool(std::string_view)>& wanted) {
    const Reader tar{::archive_read_new()};
    ::archive_read_support_filter_all(tar.get());
    ::archive_read_support_format_tar(tar.get());
    const auto damaged = [&] {
        return fail(ErrorKind::bad_input, "unpack " + package.string(), why(tar.get()),
                    "remove it and start again");
    };
    if (failed(::archive_read_open(tar.get(), &member, nullptr, read_member, nullptr)))
        return damaged();
    archive_entry* entry = nullptr;
    int status = 0;
    while ((status = ::archive_read_next_header(tar.get(), &entry)) != ARCHIVE_EOF) {
        if (failed(status))
            return damaged();
        const char* const name = ::archive_entry_pathname(entry);
        if (name == nullptr || ::archive_entry_filetype(entry) != AE_IFREG)
            continue;
        const auto path = fs::path{name}.lexically_normal();
        if (path.is_absolute() || path.empty() || *path.begin() == ".." || !wanted(path.string()))
            continue;
        if (auto saved = save_entry(tar.get(), folder / path); !saved)
            return saved;
    }
    return {};
}

} // namespace

std::vector<std::string> folders_of(const std::vector<ArchiveFile>& files) {
    std::vector<std::string> folders;
    for (const auto& file : files)
        for (auto path = fs::path{file.path}.parent_path(); path.has_relative_path();
             path = path.parent_path())
            folders.push_back(path.string());
    // A folder's name is the beginning of what is in it, so the order of texts is the order to make them in.
    std::ranges::sort(folders);
    folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
    return folders;
}

Status write_initramfs(const fs::path& target, const std::vector<ArchiveFile>& files) {
    InitramfsWriter writer{target};
    if (auto opened = writer.open(); !opened)
        return opened;
    auto with_console = files;
    with_console.push_back({.path = "/dev/console", .bytes = {}, .source = {}, .executable = false});
    for (const auto& folder : folders_of(with_console))
        if (auto written = writer.folder(std::string_view{folder}.substr(1)); !written)
            return written;
    if (auto written = writer.console(); !written)
        return written;
    for (const auto& file : files)
        if (auto written = writer.file(file); !written)
            return written;
    return writer.close();
}

Status unpack_package(const fs::path& package, const fs::path& folder,
                      const std::function<bool(std::string_view)>& wanted) {
    const Reader reader{::archive_read_new()};
    ::archive_read_support_format_ar(reader.get());
    const auto damaged = [&](std::string found) {
        return fail(ErrorKind::bad_input, "unpack " + package.string(), std::move(found),
                    "remove it and start again");
    };
    if (failed(::archive_read_open_filename(reader.get(), package.c_str(), block_bytes)))
        return damaged(why(reader.get()));
    archive_entry* entry = nullptr;
    while (true) {
        const int status = ::archive_read_next_header(reader.get(), &entry);
        if (status == ARCHIVE_EOF)
            return damaged("it has no member data.tar, so it is no Debian package");
        if (failed(status))
            return damaged(why(reader.get()));
        const char* const name = ::archive_entry_pathname(entry);
        if (name != nullptr && std::string_view{name}.starts_with("data.tar")) {
            Member member{.package = reader.get()};
            return unpack_tar(member, package, folder, wanted);
        }
    }
}

} // namespace nestbed::lab
