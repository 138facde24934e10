// What a machine must leave as it found it.
#pragma once

#include <cstddef>
#include <ostream>

namespace nestbed::test {

struct ProcessState {
    std::size_t threads = 0; // without those that KVM adds for itself and ends with the VM
    std::size_t descriptors = 0;

    bool operator==(const ProcessState&) const = default;
};

[[nodiscard]] ProcessState process_state();

std::ostream& operator<<(std::ostream& out, const ProcessState& state);

} // namespace nestbed::test
