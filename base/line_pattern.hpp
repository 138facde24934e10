// A regular expression that a user gave, matched against lines that a guest wrote.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"

// Of <pcre2.h>, whose functions are macros.
struct pcre2_real_code_8;

namespace nestbed {

class LinePattern {
public:
    // Perl-compatible. Errors: bad_input where it is none, saying where.
    [[nodiscard]] static Result<LinePattern> compile(std::string_view text);

    // Whether some part of the line matches; any thread. A pattern that would take too long over a line does
    // not match it: neither time nor stack depends on what the guest writes.
    [[nodiscard]] bool matches(std::string_view line) const;

private:
    struct Free {
        void operator()(pcre2_real_code_8* code) const noexcept;
    };
    explicit LinePattern(pcre2_real_code_8* code) : _code{code} {}

    std::unique_ptr<pcre2_real_code_8, Free> _code;
};

} // namespace nestbed
