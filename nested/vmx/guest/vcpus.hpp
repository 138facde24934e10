// A VMCS that another vCPU has made.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

// The VMCS of `moved`, current here, gets the host state that this vCPU's own L2 has.
void take_host_state(L2& own, L2& moved);

} // namespace nestbed::vmx
