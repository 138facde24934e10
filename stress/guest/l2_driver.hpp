// A nested guest as drivers use one, whatever the vendor: SvmDriver and VmxDriver have the same members.
#pragma once

#include <cstdint>

#include "nested/guest/l2_exit.hpp"

namespace nestbed::guest {

// Nothing is there: neither L1's memory nor a device.
inline constexpr std::uint64_t l2_hole = 0xf000'0000;
// Nothing is there either, until a driver maps a page to it in its nested page tables. A page table's entry
// maps it in the tables of make_tables().
inline constexpr std::uint64_t l2_window = 0xe000'0000;

enum class L2Kind : std::uint8_t {
    lean,  // fast to enter, but takes no events: see svm::L2::enter_lean()
    whole, // with state and handlers of its own, and interrupts on
};

// Which instruction is conform::l2_hypercall(), for all vCPUs; set before the first L2 runs.
void leave_l2_by_vmmcall(bool vmmcall);

} // namespace nestbed::guest
