#include "nested/guest/case.hpp"

#include "nested/guest/check.hpp"

namespace nestbed::conform {

void run_case(bool enable, void (*enable_extension)(), void (*body)()) {
    guest::halt_until([] { return guest::load(guest::this_vcpu().wakes) > 0; });
    guest::store(report().begun, std::uint64_t{1});
    if (enable)
        enable_extension();
    body();
}

void announce() {
    guest::store(report().ready, std::uint64_t{1});
    guest::ring_doorbell();
}

} // namespace nestbed::conform
