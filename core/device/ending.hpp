// How a guest asks for its machine to end.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace nestbed::device {

struct Ending {
    enum class Kind {
        power_off, // ACPI S5, or an emulator's shutdown port
        reset,     // a reset register or the keyboard controller's reset line
        exit_code, // the debug exit port of test images
    };

    Kind kind = Kind::power_off;
    std::uint64_t exit_code = 0; // of Kind::exit_code
    std::uint32_t vcpu = 0;      // which has asked

    friend bool operator==(const Ending&, const Ending&) = default;
};

// Several devices and vCPUs may ask; the first has its way. Any thread.
class FirstEnding {
public:
    explicit FirstEnding(std::function<void(const Ending&)> callback) : _callback{std::move(callback)} {}

    // The callback is called once, in the thread of the first call. The guest runs on until it is stopped.
    void report(const Ending& ending) {
        if (!_reported.exchange(true))
            _callback(ending);
    }

private:
    const std::function<void(const Ending&)> _callback;
    std::atomic<bool> _reported{false};
};

} // namespace nestbed::device
