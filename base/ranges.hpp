// Sets of numbers as Linux writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace nestbed {

// "0-3,8": ascending and without duplicates whatever the order given, the form that taskset and
// /sys/devices/system/cpu take; "" for none.
[[nodiscard]] std::string format_ranges(std::span<const std::uint32_t> numbers);

// The same for people: where it is longer than `width` characters, evenly spaced numbers become
// "0-1022 step 2" and anything else is cut at a comma and ends in "... (512)", the count of all. `width` is
// at least 24.
[[nodiscard]] std::string format_ranges_within(std::span<const std::uint32_t> numbers, std::size_t width);

} // namespace nestbed
