// The conformance tests' guest half, which is part of this program.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/payload.hpp"
#include "nested/conform/catalog.hpp"

namespace nestbed::conform {

// One for each vendor's hypervisor.
struct Payloads {
    boot::Payload svm;
    boot::Payload vmx;
    // The one that has a test of this name.
    [[nodiscard]] const boot::Payload& of(std::string_view test) const;
};

// Errors: bad_input, where the build put something else there.
[[nodiscard]] Result<Payloads> payloads();

// Those of both, sorted by name. Errors: as cases_of().
[[nodiscard]] Result<std::vector<Case>> all_cases(const Payloads& payloads);
[[nodiscard]] Result<std::vector<Case>> all_cases();

} // namespace nestbed::conform
