// Why a nested guest has left, as far as both vendors have it: what drivers know of an exit.
#pragma once

#include <cstdint>

namespace nestbed::conform {

enum class L2Exit : std::uint8_t { cpuid, hypercall, io, msr, nested_page_fault, interrupt, other };

} // namespace nestbed::conform
