// The host reads all state of this vCPU from KVM, clears it and writes it back, as a migration does between
// two instructions (Documentation/virt/kvm/api.rst, KVM_GET_NESTED_STATE). The guest must not notice.
#pragma once

#include "core/guest/cpu.hpp"
#include "core/wire/layout.hpp"
#include "nested/guest/case.hpp"
#include "nested/guest/check.hpp"

namespace nestbed::conform {

// In L1. Where it cannot be done, the test is not applicable and says so.
inline bool has_reload() {
    if (guest::in32(nestbed::wire::reload_port) == 1)
        return true;
    not_applicable("this KVM does not give nested state away (KVM_CAP_NESTED_STATE)");
    return false;
}

// In L1, or in an L2 to which L1 leaves the port.
inline void reload() {
    guest::out32(nestbed::wire::reload_port, 0);
}

} // namespace nestbed::conform

// The instruction that does it, for a snippet: DX is the port.
#define RELOAD_INSTRUCTION "outl %eax, %dx"
