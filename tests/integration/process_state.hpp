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

// The same once it is `expected`, or after some seconds: the kernel takes a moment to forget a thread that
// was joined.
[[nodiscard]] ProcessState settled(const ProcessState& expected);
[[nodiscard]] std::size_t settled_threads(std::size_t expected);

std::ostream& operator<<(std::ostream& out, const ProcessState& state);

} // namespace nestbed::test
