// What must hold of every input; a violation ends the fuzzer with the place where it was seen.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace nestbed::fuzz {

// The builtins and not std::source_location, which clang 14 does not have.
inline void require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (holds)
        return;
    static_cast<void>(std::fprintf(stderr, "%s:%d: does not hold\n", file, line));
    std::abort();
}

} // namespace nestbed::fuzz
