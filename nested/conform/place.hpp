// Where tests run: on this host, or in the lab.
#pragma once

#include <string>

#include "base/error.hpp"

namespace nestbed::conform {

enum class Where { automatic, host, lab };

// Of "auto", "host", "lab". Errors: bad_input.
[[nodiscard]] Result<Where> parse_where(const std::string& text);

struct Place {
    Where where = Where::host; // host or lab
    std::string why;           // "this host's KVM offers SVM", for people
};

// Decides `automatic` by what this host's KVM offers; the others stay what they are.
[[nodiscard]] Place choose_place(Where wanted);

} // namespace nestbed::conform
