// Interruption information: of a VM exit, of IDT vectoring, and for injection by a VM entry (SDM volume 3,
// "Information for VM Exits Due to Vectored Events", "VM-Entry Controls for Event Injection"). Compiles
// freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

enum class EventType : std::uint8_t {
    external_interrupt = 0,
    nmi = 2,
    hardware_exception = 3,
    software_interrupt = 4,
    privileged_software_exception = 5, // INT1
    software_exception = 6,            // INT3, INTO
    other = 7,                         // by injection only: vector 0 is a pending MTF VM exit
};

inline constexpr std::uint32_t event_error_code = 1U << 11;     // valid, or to be delivered
inline constexpr std::uint32_t event_nmi_unblocking = 1U << 12; // of an exit: by the IRET that faulted
inline constexpr std::uint32_t event_nested = 1U << 13;         // FRED: met while another event was delivered
inline constexpr std::uint32_t event_valid = 1U << 31;

constexpr std::uint32_t event(EventType type, std::uint8_t vector) {
    return event_valid | static_cast<std::uint32_t>(type) << 8 | vector;
}

// The error code itself has a field of its own.
constexpr std::uint32_t event_with_error_code(EventType type, std::uint8_t vector) {
    return event(type, vector) | event_error_code;
}

struct Event {
    bool valid = false; // where false, the rest means nothing
    EventType type = EventType::external_interrupt;
    std::uint8_t vector = 0;
    bool error_code = false;
    bool nmi_unblocking = false;
    bool nested = false;
};

constexpr Event decode_event(std::uint32_t field) {
    return {(field & event_valid) != 0,
            static_cast<EventType>(field >> 8 & 7),
            static_cast<std::uint8_t>(field & 0xff),
            (field & event_error_code) != 0,
            (field & event_nmi_unblocking) != 0,
            (field & event_nested) != 0};
}

} // namespace nestbed::vmx
