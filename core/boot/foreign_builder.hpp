// What the loaders of foreign images share: pieces, each put into memory that nobody else has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"
#include "core/boot/elf.hpp"
#include "core/boot/foreign_image.hpp"
#include "core/boot/free_memory.hpp"

namespace nestbed::boot {

// Address 0 means "none" to most guests, and page 0 is the AP trampoline of some.
inline constexpr std::uint64_t first_page_end = 0x1000;
// What real-mode code, 32-bit code and 32-bit pointers reach.
inline constexpr Window below_640k{first_page_end, 0xa'0000};
inline constexpr Window below_4g{first_page_end, 0x1'0000'0000};

// Where a piece may lie.
struct Place {
    Window window;
    std::uint64_t alignment = 1; // a power of two
    bool highest = false;        // in the window, else the lowest
};

// The bytes of a value, or of an array.
template<typename T>
[[nodiscard]] std::vector<std::byte> bytes_of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto view = std::as_bytes(std::span{&value, 1});
    return {view.begin(), view.end()};
}
template<typename T>
[[nodiscard]] std::vector<std::byte> bytes_of(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto view = std::as_bytes(std::span{values});
    return {view.begin(), view.end()};
}

class ForeignBuilder {
public:
    explicit ForeignBuilder(const ForeignInput& input);

    // At the place that the image names, `data` and zeros up to `bytes`. Errors: bad_input.
    [[nodiscard]] Status put_at(std::uint64_t address, std::uint64_t bytes, std::span<const std::byte> data,
                                std::string what);
    // Every segment of an image. Errors: bad_input, for very many of them too.
    [[nodiscard]] Status put_segments(const ElfImage& image);

    // Its address. `data` outlives the ForeignBoot. Errors: bad_input where it has no room.
    [[nodiscard]] Result<std::uint64_t> put(std::span<const std::byte> data, const Place& place,
                                            std::string what);
    [[nodiscard]] Result<std::uint64_t> put_made(std::vector<std::byte> data, const Place& place,
                                                 std::string what);
    // With a NUL after it.
    [[nodiscard]] Result<std::uint64_t> put_text(std::string_view text, const Place& place, std::string what);

    // Memory that is larger than what view() puts at its start, or whose address is a part of what
    // write_made() puts there. Errors: bad_input.
    [[nodiscard]] Result<std::uint64_t> reserve(std::uint64_t bytes, const Place& place, std::string what);
    void view(std::uint64_t address, std::span<const std::byte> data);
    void write_made(std::uint64_t address, std::vector<std::byte> data);

    // Bytes that pieces may view.
    [[nodiscard]] std::span<const std::byte> keep(std::vector<std::byte> data);

    [[nodiscard]] bool is_free(Extent extent) const { return _memory.is_free(extent); }

    [[nodiscard]] ForeignBoot finish(std::string protocol, const EntryState& entry) &&;

private:
    FreeMemory _memory;
    ForeignBoot _boot;
};

} // namespace nestbed::boot
