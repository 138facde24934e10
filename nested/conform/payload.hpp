// The conformance tests' guest half, which is part of this program.
#pragma once

#include "base/error.hpp"
#include "core/boot/payload.hpp"

namespace nestbed::conform {

// Errors: bad_input, where the build put something else there.
[[nodiscard]] Result<boot::Payload> svm_payload();

} // namespace nestbed::conform
