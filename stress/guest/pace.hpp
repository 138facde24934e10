// The guest's side of stress/wire/pace.hpp.
#pragma once

#include "core/guest/runtime.hpp"
#include "stress/wire/pace.hpp"

namespace nestbed::guest {

// The job at hand is to end. In ring 0 and ring 3.
inline bool told_to_stop() {
    return load(*pointer_to<const std::uint64_t>(job_argument(stress::wire::stop_argument))) != 0;
}

} // namespace nestbed::guest
