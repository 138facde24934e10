// A nested guest as drivers use one, whatever the vendor: SvmDriver and VmxDriver have the same members.
#pragma once

#include <cstdint>

#include "nested/guest/l2_exit.hpp"

namespace nestbed::guest {

// Nothing is there: neither L1's memory nor a device.
inline constexpr std::uint64_t l2_hole = 0xf000'0000;

// Which instruction is conform::l2_hypercall(), for all vCPUs; set before the first L2 runs.
void leave_l2_by_vmmcall(bool vmmcall);

} // namespace nestbed::guest
