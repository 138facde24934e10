#include "report/json_file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/fd.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

std::string dump_scalar(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Longer strings are sentences, which read better one below the other.
constexpr std::size_t most_bytes_in_a_row = 32;

bool fits_a_row(const Json& element) {
    if (element.is_string())
        return element.get_ref<const std::string&>().size() <= most_bytes_in_a_row;
    return element.is_primitive();
}

// A row of a table: what an array holds as small objects reads best one below the other.
constexpr std::size_t most_bytes_of_an_object_in_a_row = 100;

std::optional<std::string> object_as_row(const Json& element) {
    if (!element.is_object() || element.empty())
        return std::nullopt;
    std::string row = "{";
    for (const auto& [key, value] : element.items()) {
        if (!value.is_primitive())
            return std::nullopt;
        row += fmt::format("{}{}: {}", row.size() > 1 ? ", " : "", dump_scalar(key), dump_scalar(value));
    }
    row += '}';
    return row.size() <= most_bytes_of_an_object_in_a_row ? std::optional{row} : std::nullopt;
}

class Printer {
public:
    void print(const Json& value) {
        if (value.is_object() && !value.empty())
            print_object(value);
        else if (value.is_array() && std::all_of(value.begin(), value.end(), fits_a_row))
            print_row(value);
        else if (value.is_array())
            print_column(value);
        else
            _text += dump_scalar(value);
    }

    [[nodiscard]] std::string text() && { return std::move(_text); }

private:
    void print_object(const Json& object) {
        open('{');
        for (const auto& [key, value] : object.items()) {
            next_line();
            _text += dump_scalar(key) + ": ";
            print(value);
            _text += ',';
        }
        close('}');
    }

    void print_column(const Json& array) {
        open('[');
        for (const auto& element : array) {
            next_line();
            if (const auto row = object_as_row(element))
                _text += *row;
            else
                print(element);
            _text += ',';
        }
        close(']');
    }

    void print_row(const Json& array) {
        _text += '[';
        for (const auto& element : array) {
            if (_text.back() != '[')
                _text += ", ";
            _text += dump_scalar(element);
        }
        _text += ']';
    }

    void open(char bracket) {
        _text += bracket;
        ++_depth;
    }

    // In place of the comma behind the last member.
    void close(char bracket) {
        _text.pop_back();
        --_depth;
        next_line();
        _text += bracket;
    }

    void next_line() {
        _text += '\n';
        _text.append(2 * _depth, ' ');
    }

    std::string _text;
    std::size_t _depth = 0;
};

// What the user can mend by naming another path is his input; a full or failing disk is not.
ErrorKind kind_of(int number) {
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ErrorKind::host_lacks;
    default:
        return ErrorKind::bad_input;
    }
}

tl::unexpected<Error> refuse(const std::filesystem::path& path, std::string_view step, int number) {
    const auto kind = kind_of(number);
    return fail(kind, fmt::format("write {}", path.string()), fmt::format("{}: {}", step, errno_text(number)),
                kind == ErrorKind::bad_input ? "name a place that you may write to"
                                             : "make room, or name another disk");
}

// 0 or errno.
int write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto written = ::write(fd, text.data(), text.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return 0;
}

int write_and_sync(int fd, std::string_view text) {
    if (const int number = write_all(fd, text); number != 0)
        return number;
    return ::fsync(fd) == 0 ? 0 : errno;
}

// A device, a pipe or a socket is written to; a file that took its name would be in its place.
bool is_special(const std::filesystem::path& path) {
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
}

Status write_special(const std::filesystem::path& path, std::string_view text) {
    const Fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!fd)
        return refuse(path, "open it", errno);
    const int number = write_all(fd.get(), text);
    return number == 0 ? Status{} : refuse(path, "write", number);
}

// So that the new name survives a crash; file systems that cannot do it for a folder have nothing to lose
// there.
void sync_folder(const std::filesystem::path& folder) {
    const Fd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (fd)
        static_cast<void>(::fsync(fd.get()));
}

std::filesystem::path beside(const std::filesystem::path& path) {
    static std::atomic<unsigned> serial{0};
    return path.parent_path() / fmt::format(".{}.{}.{}", path.filename().string(), ::getpid(), ++serial);
}

} // namespace

std::string dump(const Json& document) {
    Printer printer;
    printer.print(document);
    return std::move(printer).text() + '\n';
}

Status write_text_file(const std::filesystem::path& asked, std::string_view text) {
    if (!asked.has_filename())
        return refuse(asked, "open the file", EISDIR);
    if (is_special(asked))
        return write_special(asked, text);
    // A link goes on to name the file that it names.
    std::error_code no_such_file;
    const auto named = std::filesystem::canonical(asked, no_such_file);
    const auto path = no_such_file ? asked : named;
    const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path{"."};
    std::error_code code;
    std::filesystem::create_directories(folder, code);
    if (code)
        return refuse(path, fmt::format("make the folder {}", folder.string()), code.value());

    const auto temporary = beside(path);
    const Fd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    if (!fd)
        return refuse(path, "open a file beside it", errno);
    const auto undo = [&](std::string_view step, int number) {
        ::unlink(temporary.c_str());
        return refuse(path, step, number);
    };
    if (const int number = write_and_sync(fd.get(), text); number != 0)
        return undo("write", number);
    if (::rename(temporary.c_str(), path.c_str()) != 0)
        return undo("rename into place", errno);
    sync_folder(folder);
    return {};
}

Status write_json_file(const std::filesystem::path& path, const Json& document) {
    return write_text_file(path, dump(document));
}

} // namespace nestbed::report
