// Things that went from one track of a timeline to another, as slices that nest and arrows between them.
// Values only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nestbed::report {

struct Arrow {
    std::uint32_t from = 0; // tracks
    std::uint32_t to = 0;
    std::uint64_t start_ns = 0;
    std::uint64_t end_ns = 0;
};

// A slice of one track: at the start of arrows, for as long as the last of them is under way; or at the end
// of one.
struct ArrowSlice {
    std::uint32_t track = 0;
    std::uint64_t start_ns = 0;
    std::uint64_t duration_ns = 0;
    bool is_start = false;
    std::vector<std::uint32_t> arrows; // indexes of those that start here, or the one that ends
};

// By start of the slice. Arrows that start together from one track share a slice. Timelines draw only slices
// that lie within or beside one another, so the slice at an end takes as long as there is room, 1 us at most.
// An arrow has both of its slices or none: left out are those that end before they start, and those that
// start while an earlier one from the same track is under way, or end where there is no room at all.
[[nodiscard]] std::vector<ArrowSlice> arrange(std::span<const Arrow> arrows);

} // namespace nestbed::report
