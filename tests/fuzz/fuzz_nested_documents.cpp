// Two texts, divided by a zero byte, as what `nestbed check --nested --json` prints.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "report/nested_document.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nestbed::report;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    const auto end = text.find('\0');
    const auto a = parse_nested_document(text.substr(0, end), "a");
    require(a.has_value() || a.error().kind == nestbed::ErrorKind::bad_input);
    if (!a)
        return 0;
    require(nested_differences(*a, "a", *a, "b").empty());
    const auto b = parse_nested_document(end == std::string_view::npos ? "" : text.substr(end + 1), "b");
    if (!b)
        return 0;
    // As many the other way round.
    require(nested_differences(*a, "a", *b, "b").size() == nested_differences(*b, "b", *a, "a").size());
    for (const auto& line : nested_differences(*a, "a", *b, "b"))
        for (const char letter : line)
            require(letter >= ' ' && letter <= '~');
    return 0;
}
