// L1 outside long mode: VMRUN from 32-bit code, whose paging mode is then that of the nested tables (APM
// volume 2, 15.25.3).
#pragma once

#include <cstdint>

namespace nestbed::svm {

struct LegacyHost {
    std::uint64_t vmcb;
    std::uint64_t cr3; // L1's own while it is in that mode: it maps the first 4 GiB to themselves
    std::uint64_t cr4; // with or without PAE
};

// Leaves 64-bit mode for 32-bit code with paging by these, runs the VMCB once and comes back. GIF is 0
// meanwhile; L2 begins with RSI, RDI and EBX as given, and neither VMLOAD nor VMSAVE is done. Everything that
// is named is below 4 GiB.
void vmrun_in_legacy_mode(const LegacyHost& host, std::uint64_t rsi, std::uint64_t rdi, std::uint64_t rbx);

} // namespace nestbed::svm
