// L2 outside 64-bit mode, with paging, so that unrestricted guest is not needed. Its code is 32-bit code
// (L2_CODE of code.hpp) and runs without handlers, unless the test gives it some.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

// 32-bit code in IA-32e mode, flat segments, with L1's page tables. `code` and `stack` are below 4 GiB.
void set_compatibility_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// 32-bit protected mode with two-level paging, the first 4 GiB mapped to themselves in 4 MiB pages; EFER.LME
// is 0, by "IA-32e mode guest". The TSS is a 32-bit one, busy, at `tss`.
void set_legacy_mode(L2& guest, std::uint64_t code, std::uint64_t stack, std::uint64_t tss);

} // namespace nestbed::vmx
