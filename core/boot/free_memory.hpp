// The guest memory that a loader has to give away, and who has what of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/boot/e820.hpp"
#include "core/boot/placement.hpp"
#include "core/boot/ram.hpp"

namespace nestbed::boot {

// Addresses from `start` up to, not including, `end`.
struct Window {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
};

class FreeMemory {
public:
    // What is RAM and usable.
    FreeMemory(std::span<const RamRange> ram, std::span<const E820Entry> e820);

    // Exactly there. `what` is for errors: "segment 1 of the image". Errors: bad_input where some of it is no
    // usable RAM or is taken, saying by what. Nothing is taken for zero bytes.
    [[nodiscard]] Status take(Extent extent, std::string what);

    // The lowest or highest place in the window; `alignment` is a power of two. Nothing where there is none.
    [[nodiscard]] std::optional<std::uint64_t> take_lowest(std::uint64_t bytes, std::uint64_t alignment,
                                                           Window window, std::string what);
    [[nodiscard]] std::optional<std::uint64_t> take_highest(std::uint64_t bytes, std::uint64_t alignment,
                                                            Window window, std::string what);

    [[nodiscard]] bool is_free(Extent extent) const;

    // The largest stretch that is free in the window, in bytes.
    [[nodiscard]] std::uint64_t largest(Window window) const;

    // Ascending.
    [[nodiscard]] std::vector<Extent> taken() const;

private:
    struct Taken {
        Extent extent;
        std::string what;
    };

    [[nodiscard]] std::vector<Window>::const_iterator holder_of(Extent extent) const;
    void remember(Extent extent, std::string what);

    std::vector<Window> _free; // ascending, none empty, none touching another
    std::vector<Taken> _taken; // ascending
};

} // namespace nestbed::boot
