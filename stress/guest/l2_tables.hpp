// The nested page tables that L2 guests of drivers share, built by "nested.l2_prepare_*" on one vCPU.
#pragma once

namespace nestbed::guest {

template<typename Driver>
inline typename Driver::Tables* built_tables; // null where L2 runs without

template<typename Driver>
const typename Driver::Tables* shared_tables() {
    return built_tables<Driver>;
}

} // namespace nestbed::guest
