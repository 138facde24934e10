// What a conformance test says of what it saw. Every expectation is counted; the first that is not met
// freezes the control structures and registers of that moment for the host.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "nested/guest/text.hpp"
#include "nested/wire/conform.hpp"

namespace nestbed::conform {

// This vCPU's.
nested::wire::Report& report();

// Called once, at the first expectation that is not met, where the control structure has to be asked for;
// null where the entry into L2 keeps it.
extern void (*keep_control_structure)(nested::wire::Report& report);

// Where a check stands in the source.
struct Place {
    const char* file;
    std::uint32_t line;
};

namespace detail {
void failed(const char* what, std::uint64_t expected, std::uint64_t seen, bool has_values, Place place);
template<typename T>
constexpr std::uint64_t bits(T value) {
    if constexpr (std::is_signed_v<T>)
        return static_cast<std::make_unsigned_t<T>>(value);
    else
        return static_cast<std::uint64_t>(value);
}
} // namespace detail

// Returns whether it held, for tests that cannot go on otherwise. `what` names what was looked at.
template<typename Seen, typename Expected>
bool expect_equal(Seen seen, Expected expected, const char* what, const char* file = __builtin_FILE(),
                  std::uint32_t line = __builtin_LINE()) {
    ++report().checks;
    const auto a = detail::bits(seen);
    const auto b = detail::bits(expected);
    if (a == b)
        return true;
    detail::failed(what, b, a, true, {file, line});
    return false;
}
template<typename Seen, typename Expected>
bool expect_equal(Seen seen, Expected expected, const Text& what, const char* file = __builtin_FILE(),
                  std::uint32_t line = __builtin_LINE()) {
    return expect_equal(seen, expected, what.c_str(), file, line);
}

inline bool expect(bool holds, const char* what, const char* file = __builtin_FILE(),
                   std::uint32_t line = __builtin_LINE()) {
    ++report().checks;
    if (!holds)
        detail::failed(what, 0, 0, false, {file, line});
    return holds;
}
inline bool expect(bool holds, const Text& what, const char* file = __builtin_FILE(),
                   std::uint32_t line = __builtin_LINE()) {
    return expect(holds, what.c_str(), file, line);
}

// The test does not apply to this machine: says why, and the test returns then.
void not_applicable(const char* why);

} // namespace nestbed::conform
