// Lets the vCPUs of a test go on together.
#pragma once

#include <cstdint>

#include "core/guest/runtime.hpp"

namespace nestbed::conform {

// Static storage, zero-initialized. May be used again and again by the same number of vCPUs.
class Barrier {
public:
    void wait(std::uint32_t vcpus) {
        const auto round = guest::load(_round);
        if (guest::add(_arrived, 1U) + 1 == vcpus) {
            guest::store(_arrived, 0U);
            guest::store(_round, round + 1);
            return;
        }
        while (guest::load(_round) == round)
            guest::pause();
    }
    void wait() { wait(guest::header().vcpus); }

private:
    std::uint32_t _arrived = 0;
    std::uint32_t _round = 0;
};

// Spins until `condition` holds; the host's deadline ends a wait in vain.
template<typename Condition>
void spin_until(Condition condition) {
    while (!condition())
        guest::pause();
}

} // namespace nestbed::conform
