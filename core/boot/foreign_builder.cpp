#include "core/boot/foreign_builder.hpp"

#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::boot {

namespace {

// A vmlinux has five. What each costs here grows with their number.
constexpr std::size_t max_segments = 1024;

} // namespace

ForeignBuilder::ForeignBuilder(const ForeignInput& input) : _memory{input.ram, input.e820} {}

Status ForeignBuilder::put_at(std::uint64_t address, std::uint64_t bytes, std::span<const std::byte> data,
                              std::string what) {
    auto taken = _memory.take({address, bytes}, std::move(what));
    if (taken)
        view(address, data);
    return taken;
}

Status ForeignBuilder::put_segments(const ElfImage& image) {
    if (image.segments.size() > max_segments)
        return fail(ErrorKind::bad_input, "place the image's segments",
                    fmt::format("it has {}, more than {}", image.segments.size(), max_segments));
    for (const auto& segment : image.segments)
        if (auto put = put_at(segment.address, segment.memory_bytes, segment.data, "a segment of the image");
            !put)
            return put;
    return {};
}

Result<std::uint64_t> ForeignBuilder::reserve(std::uint64_t bytes, const Place& place, std::string what) {
    const auto address = place.highest ? _memory.take_highest(bytes, place.alignment, place.window, what)
                                       : _memory.take_lowest(bytes, place.alignment, place.window, what);
    if (address)
        return *address;
    return fail(ErrorKind::bad_input, fmt::format("place {} ({})", what, format_size(bytes)),
                fmt::format("the largest stretch of RAM that is free at {:#x} to {:#x} has {}",
                            place.window.start, place.window.end - 1,
                            format_size(_memory.largest(place.window))),
                place.window.end > MiB ? "use a larger --memory" : "");
}

void ForeignBuilder::view(std::uint64_t address, std::span<const std::byte> data) {
    if (!data.empty())
        _boot.pieces.push_back({address, data});
}

void ForeignBuilder::write_made(std::uint64_t address, std::vector<std::byte> data) {
    view(address, keep(std::move(data)));
}

Result<std::uint64_t> ForeignBuilder::put(std::span<const std::byte> data, const Place& place,
                                          std::string what) {
    auto address = reserve(data.size(), place, std::move(what));
    if (address)
        view(*address, data);
    return address;
}

Result<std::uint64_t> ForeignBuilder::put_made(std::vector<std::byte> data, const Place& place,
                                               std::string what) {
    return put(keep(std::move(data)), place, std::move(what));
}

Result<std::uint64_t> ForeignBuilder::put_text(std::string_view text, const Place& place, std::string what) {
    const auto view = std::as_bytes(std::span{text});
    std::vector<std::byte> data{view.begin(), view.end()};
    data.push_back(std::byte{0});
    return put_made(std::move(data), place, std::move(what));
}

// A vector's bytes stay where they are when the vector of vectors grows.
std::span<const std::byte> ForeignBuilder::keep(std::vector<std::byte> data) {
    return _boot.made.emplace_back(std::move(data));
}

ForeignBoot ForeignBuilder::finish(std::string protocol, const EntryState& entry) && {
    _boot.protocol = std::move(protocol);
    _boot.entry = entry;
    _boot.taken = _memory.taken();
    return std::move(_boot);
}

} // namespace nestbed::boot
