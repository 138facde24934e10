// The guest's side of stress/wire/ipi_trace.hpp.
#pragma once

#include "core/guest/runtime.hpp"
#include "stress/wire/ipi_trace.hpp"

namespace nestbed::guest {

// `ring` is the address of this vCPU's; 0: none is kept.
inline void keep(std::uint64_t ring, const stress::wire::ipi_trace::Ipi& ipi) {
    if (ring == 0)
        return;
    auto& own = *pointer_to<stress::wire::ipi_trace::Ring>(ring);
    reinterpret_cast<stress::wire::ipi_trace::Ipi*>(&own + 1)[own.written & own.mask] = ipi;
    store(own.written, own.written + 1);
}

} // namespace nestbed::guest
