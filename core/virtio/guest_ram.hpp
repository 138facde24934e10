// Guest memory as devices see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

namespace nestbed::virtio {

// The host's view of guest-physical [address, address + bytes), empty where any of it is no RAM or where it
// crosses from one RAM range to the next, as machine::GuestMemory::at(). From any thread. The guest may write
// there at any time.
using GuestRam = std::function<std::span<std::byte>(std::uint64_t address, std::uint64_t bytes)>;

using Buffers = std::vector<std::span<std::byte>>;

// The error says what the driver did that no driver may do.
template<typename T>
using Checked = tl::expected<T, std::string>;

[[nodiscard]] constexpr std::uint64_t total_bytes(const Buffers& buffers) {
    std::uint64_t total = 0;
    for (const auto& buffer : buffers)
        total += buffer.size();
    return total;
}

} // namespace nestbed::virtio
