// What must hold of every input; a violation ends the fuzzer with the place where it was seen.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace nestbed::fuzz {

inline void require(bool holds, const std::source_location& where = std::source_location::current()) {
    if (holds)
        return;
    static_cast<void>(std::fprintf(stderr, "%s:%u: does not hold\n", where.file_name(), where.line()));
    std::abort();
}

} // namespace nestbed::fuzz
