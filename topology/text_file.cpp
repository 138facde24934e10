#include "topology/text_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/fd.hpp"
#include "base/units.hpp"

namespace nestbed::topology {

Result<std::string> read_text_file(const std::string& path, std::size_t max_bytes) {
    const auto asked = fmt::format("read \"{}\"", path);
    const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
    if (!fd)
        return fail_errno(ErrorKind::bad_input, asked);
    std::string text;
    // A kernel or an initrd has many megabytes, which would be copied each time that the text grows. A file
    // of /proc says that it has none.
    const auto refuse = [&] {
        return fail(ErrorKind::bad_input, asked, fmt::format("larger than {}", format_size(max_bytes)));
    };
    struct stat status {};
    if (::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        if (static_cast<std::uint64_t>(status.st_size) > max_bytes)
            return refuse();
        text.reserve(static_cast<std::size_t>(status.st_size));
    }
    std::array<char, 65536> chunk{};
    for (;;) {
        const auto got = ::read(fd.get(), chunk.data(), chunk.size());
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(ErrorKind::bad_input, asked);
        if (got == 0)
            return text;
        if (static_cast<std::size_t>(got) > max_bytes - text.size())
            return refuse();
        text.append(chunk.data(), static_cast<std::size_t>(got));
    }
}

std::optional<std::uint64_t> read_number_file(const std::string& path) {
    const auto text = read_text_file(path, 64);
    if (!text)
        return std::nullopt;
    std::uint64_t value = 0;
    const auto* const end = text->data() + text->size();
    const auto [stop, code] = std::from_chars(text->data(), end, value);
    if (code != std::errc{} || (stop != end && *stop != '\n'))
        return std::nullopt;
    return value;
}

std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key) {
    const auto wanted = fmt::format("{}:", key);
    for (auto at = text.find(wanted); at != std::string_view::npos; at = text.find(wanted, at + 1)) {
        // "Active:" also ends "Inactive:": a key begins a line or follows a blank.
        if (at > 0 && text[at - 1] != '\n' && text[at - 1] != ' ')
            continue;
        auto rest = text.substr(at + wanted.size());
        rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
        std::uint64_t value = 0;
        if (std::from_chars(rest.data(), rest.data() + rest.size(), value).ec == std::errc{})
            return value;
    }
    return std::nullopt;
}

} // namespace nestbed::topology
