// How the host ends a job that goes on for as long as it is wanted. Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire {

// The first argument of such a job: the GPA of a u64 on a cache line of its own, which the host sets to 1.
inline constexpr unsigned stop_argument = 0;

} // namespace nestbed::stress::wire
