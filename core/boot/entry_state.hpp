// The state in which a guest's first instruction runs.
#pragma once

#include <cstdint>

#include "core/boot/placement.hpp"

namespace nestbed::boot {

enum class EntryMode {
    protected_mode, // CR0.PE alone, CR4 zero; CS, DS, ES, FS, GS and SS flat 32-bit segments
    long_mode,      // paging by `cr3`; CS a flat 64-bit segment, the others flat data segments
};

// Of the BSP; all else is as after INIT, interrupts off. TR holds a busy TSS with base 0 and limit 0x67,
// which PVH asks for and VM entry too (SDM volume 3, 27.3.1.2).
struct EntryState {
    EntryMode mode = EntryMode::protected_mode;
    std::uint64_t rip = 0;
    std::uint64_t rax = 0;
    std::uint64_t rbx = 0;
    std::uint64_t rsi = 0;
    std::uint64_t rsp = 0; // 0 where the image has to set its own, which all protocols ask for
    std::uint64_t cr3 = 0; // of long_mode
    Extent gdt = {};       // of no bytes where the protocol leaves GDTR undefined
    std::uint16_t code_selector = 0;
    std::uint16_t data_selector = 0;
};

} // namespace nestbed::boot
