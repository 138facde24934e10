// The drivers' guest half, which is part of this program.
#pragma once

#include "base/error.hpp"
#include "core/boot/payload.hpp"

namespace nestbed::stress {

// Errors: bad_input, where the build put something else there.
[[nodiscard]] Result<boot::Payload> embedded_payload();

} // namespace nestbed::stress
