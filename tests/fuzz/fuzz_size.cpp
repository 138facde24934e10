// Any text as a size and as a count.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/units.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    if (const auto bytes = nestbed::parse_size(text)) {
        require(nestbed::parse_size(std::to_string(*bytes)) == *bytes);
        require(!nestbed::format_size(*bytes).empty());
    } else {
        require(bytes.error().kind == nestbed::ErrorKind::bad_input);
    }
    for (const auto max :
         {std::uint64_t{0}, std::uint64_t{1024}, std::numeric_limits<std::uint64_t>::max()}) {
        const auto count = nestbed::parse_count(text, "vCPUs", max);
        require(!count ||
                (*count <= max && nestbed::parse_count(std::to_string(*count), "vCPUs", max) == *count));
        require(count.has_value() || count.error().kind == nestbed::ErrorKind::bad_input);
    }
    return 0;
}
