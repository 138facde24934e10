#include "core/boot/decompress.hpp"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::boot {

namespace {

constexpr std::size_t block_bytes = 64 * KiB;

struct FreeReader {
    void operator()(archive* reader) const { ::archive_read_free(reader); }
};
using Reader = std::unique_ptr<archive, FreeReader>;

std::string why(archive* handle) {
    const char* const text = ::archive_error_string(handle);
    return text == nullptr ? "no reason given" : text;
}

bool failed(int status) {
    return status < ARCHIVE_WARN;
}

// The whole of what `open` gives, without any compression around it.
Result<std::string> read_raw(const std::string& asked, std::uint64_t max_bytes,
                             const std::function<int(archive*)>& open) {
    const Reader reader{::archive_read_new()};
    ::archive_read_support_filter_all(reader.get());
    ::archive_read_support_format_raw(reader.get());
    ::archive_read_support_format_empty(reader.get());
    const auto refuse = [&](std::string found) {
        return fail(ErrorKind::bad_input, asked, std::move(found));
    };
    if (failed(open(reader.get())))
        return refuse(why(reader.get()));
    archive_entry* entry = nullptr;
    const int status = ::archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF)
        return std::string{};
    if (failed(status))
        return refuse(why(reader.get()));
    std::string bytes;
    std::vector<char> block(block_bytes);
    while (true) {
        const auto got = ::archive_read_data(reader.get(), block.data(), block.size());
        if (got < 0)
            return refuse(why(reader.get()));
        if (got == 0)
            return bytes;
        if (bytes.size() + static_cast<std::size_t>(got) > max_bytes)
            return refuse(fmt::format("it is larger than {}", format_size(max_bytes)));
        bytes.append(block.data(), static_cast<std::size_t>(got));
    }
}

} // namespace

Result<std::string> read_decompressed(const std::filesystem::path& file, std::uint64_t max_bytes) {
    return read_raw("read " + file.string(), max_bytes, [&](archive* reader) {
        return ::archive_read_open_filename(reader, file.c_str(), block_bytes);
    });
}

Result<std::string> decompressed(std::span<const std::byte> bytes, std::uint64_t max_bytes) {
    return read_raw("decompress", max_bytes, [&](archive* reader) {
        return ::archive_read_open_memory(reader, bytes.data(), bytes.size());
    });
}

} // namespace nestbed::boot
