#include "core/boot/free_memory.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::boot {

namespace {

// What both have.
std::optional<Window> common(Window a, Window b) {
    const Window both{std::max(a.start, b.start), std::min(a.end, b.end)};
    return both.start < both.end ? std::optional{both} : std::nullopt;
}

} // namespace

FreeMemory::FreeMemory(std::span<const RamRange> ram, std::span<const E820Entry> e820) {
    for (const auto& entry : e820)
        for (const auto& range : ram)
            if (const auto both = common({entry.address, entry.end()}, {range.address, range.end()});
                both && entry.type == E820Type::usable)
                _free.push_back(*both);
    std::ranges::sort(_free, {}, &Window::start);
    // Neighbours on different virtual nodes are one stretch to a loader.
    std::vector<Window> joined;
    for (const auto& window : _free)
        if (!joined.empty() && joined.back().end >= window.start)
            joined.back().end = std::max(joined.back().end, window.end);
        else
            joined.push_back(window);
    _free = std::move(joined);
}

Status FreeMemory::take(Extent extent, std::string what) {
    if (extent.bytes == 0)
        return {};
    const auto last = extent.address + (extent.bytes - 1);
    const auto refuse = [&](std::string found) {
        return fail(ErrorKind::bad_input,
                    fmt::format("place {} at {:#x} to {:#x}", what, extent.address, last), std::move(found));
    };
    if (last < extent.address || last == std::numeric_limits<std::uint64_t>::max())
        return fail(ErrorKind::bad_input,
                    fmt::format("place {}, {:#x} bytes at {:#x}", what, extent.bytes, extent.address),
                    "it wraps around the address space");
    if (is_free(extent)) {
        remember(extent, std::move(what));
        return {};
    }
    for (const auto& other : _taken)
        if (other.extent.address <= last && extent.address < other.extent.address + other.extent.bytes)
            return refuse(fmt::format("{} lies at {:#x} to {:#x}", other.what, other.extent.address,
                                      other.extent.address + other.extent.bytes - 1));
    if (_free.empty() || extent.address >= _free.back().end || last >= _free.back().end)
        return tl::unexpected{
            Error{ErrorKind::bad_input, fmt::format("place {} at {:#x} to {:#x}", what, extent.address, last),
                  fmt::format("free RAM ends at {:#x}", _free.empty() ? 0 : _free.back().end),
                  "use a larger --memory"}};
    return refuse("not all of that is usable RAM");
}

std::optional<std::uint64_t> FreeMemory::take_lowest(std::uint64_t bytes, std::uint64_t alignment,
                                                     Window window, std::string what) {
    for (const auto& free : _free) {
        const auto both = common(free, window);
        if (!both || both->start > std::numeric_limits<std::uint64_t>::max() - (alignment - 1))
            continue;
        const auto address = round_up(both->start, alignment);
        if (address >= both->end || both->end - address < bytes)
            continue;
        remember({address, bytes}, std::move(what));
        return address;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> FreeMemory::take_highest(std::uint64_t bytes, std::uint64_t alignment,
                                                      Window window, std::string what) {
    for (auto i = _free.size(); i-- > 0;) {
        const auto both = common(_free[i], window);
        if (!both || both->end - both->start < bytes)
            continue;
        const auto address = (both->end - bytes) & ~(alignment - 1);
        if (address < both->start)
            continue;
        remember({address, bytes}, std::move(what));
        return address;
    }
    return std::nullopt;
}

std::uint64_t FreeMemory::largest(Window window) const {
    std::uint64_t most = 0;
    for (const auto& free : _free)
        if (const auto both = common(free, window))
            most = std::max(most, both->end - both->start);
    return most;
}

std::vector<Extent> FreeMemory::taken() const {
    std::vector<Extent> extents;
    for (const auto& one : _taken)
        extents.push_back(one.extent);
    return extents;
}

bool FreeMemory::is_free(Extent extent) const {
    return holder_of(extent) != _free.end();
}

// The free window that the whole extent lies in.
std::vector<Window>::const_iterator FreeMemory::holder_of(Extent extent) const {
    return std::ranges::find_if(_free, [&](const Window& free) {
        return free.start <= extent.address && extent.address < free.end &&
               extent.bytes <= free.end - extent.address;
    });
}

// The extent is free.
void FreeMemory::remember(Extent extent, std::string what) {
    if (extent.bytes == 0)
        return;
    const auto end = extent.address + extent.bytes;
    const auto at = holder_of(extent);
    const auto whole = *at;
    auto next = _free.erase(at);
    if (end < whole.end)
        next = _free.insert(next, {end, whole.end});
    if (whole.start < extent.address)
        _free.insert(next, {whole.start, extent.address});
    const auto after = std::ranges::find_if(
        _taken, [&](const Taken& other) { return other.extent.address > extent.address; });
    _taken.insert(after, {extent, std::move(what)});
}

} // namespace nestbed::boot
