// EVENTINJ and EXITINTINFO (APM volume 2, 15.20 and 15.7.2). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::svm {

enum class EventType : std::uint8_t {
    interrupt = 0,
    nmi = 2,
    exception = 3,
    software_interrupt = 4,
};

inline constexpr std::uint64_t event_has_error_code = std::uint64_t{1} << 11;
inline constexpr std::uint64_t event_valid = std::uint64_t{1} << 31;

constexpr std::uint64_t event(EventType type, std::uint8_t vector) {
    return event_valid | static_cast<std::uint64_t>(type) << 8 | vector;
}
constexpr std::uint64_t event(EventType type, std::uint8_t vector, std::uint32_t error_code) {
    return event(type, vector) | event_has_error_code | std::uint64_t{error_code} << 32;
}

} // namespace nestbed::svm
