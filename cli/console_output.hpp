// A guest's console on stdout.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

namespace nestbed::cli {

// A reader that does not read holds the guest up, but not those who want to end it.
class ConsoleOutput {
public:
    // From any thread, one at a time. A reader that went away does not end the guest.
    void write(std::span<const std::byte> bytes);

    // From any thread: what there is no room for is lost from now on.
    void hurry() { _is_hurried = true; }

private:
    std::atomic<bool> _is_hurried{false};
};

} // namespace nestbed::cli
