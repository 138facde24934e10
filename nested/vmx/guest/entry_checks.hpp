// Tests of VM entry's checks (SDM volume 3, "VM Entries"): an L2 that would run, one thing about it changed,
// and the failure that must follow. Before the change it has run, so that the change is what is judged.
//
//     ENTRY_CONTROL(pin_reserved, "A pin-based control that must be 1 is 0") {
//     clear(Field::pin_based_controls, 2); }
#pragma once

#include "nested/vmx/guest/case.hpp"

namespace nestbed::vmx {

using Change = void (*)(L2& guest);

// VMfailValid with error 7, invalid control field.
void fails_as_control(Change change);
// VMfailValid with error 8, invalid host-state field.
void fails_as_host(Change change);
// Exit reason 33 with bit 31, invalid guest state, and this exit qualification.
void fails_as_guest(Change change, std::uint64_t qualification);
// L2 runs to its end all the same.
void still_enters(Change change);

// Sets bits of a control field. Where they may not be 1 the test is not applicable, for that reason, and this
// returns false.
bool want(Field field, Allowed allowed, std::uint32_t bits, const char* otherwise);

} // namespace nestbed::vmx

#define ENTRY_CASE(group, identifier, title, section, judge)                                                 \
    static void group##_##identifier##_change([[maybe_unused]] ::nestbed::vmx::L2& guest);                   \
    static void group##_##identifier##_body() {                                                              \
        judge;                                                                                               \
    }                                                                                                        \
    VMX_CASE(group##_##identifier, "vmx." #group "." #identifier, title, section,                            \
             &group##_##identifier##_body)                                                                   \
    static void group##_##identifier##_change([[maybe_unused]] ::nestbed::vmx::L2& guest)

#define ENTRY_CONTROL(identifier, title)                                                                     \
    ENTRY_CASE(entry_controls, identifier, title, "Checks on VMX Controls",                                  \
               ::nestbed::vmx::fails_as_control(&entry_controls_##identifier##_change))
#define ENTRY_CONTROL_GOOD(identifier, title)                                                                \
    ENTRY_CASE(entry_controls, identifier, title, "Checks on VMX Controls",                                  \
               ::nestbed::vmx::still_enters(&entry_controls_##identifier##_change))
#define ENTRY_HOST(identifier, title)                                                                        \
    ENTRY_CASE(entry_host, identifier, title, "Checks on Host Control Registers, MSRs, and SSP",             \
               ::nestbed::vmx::fails_as_host(&entry_host_##identifier##_change))
#define ENTRY_HOST_GOOD(identifier, title)                                                                   \
    ENTRY_CASE(entry_host, identifier, title, "Checks on Host Control Registers, MSRs, and SSP",             \
               ::nestbed::vmx::still_enters(&entry_host_##identifier##_change))
#define ENTRY_GUEST(identifier, title)                                                                       \
    ENTRY_CASE(entry_guest, identifier, title, "Checks on the Guest State Area",                             \
               ::nestbed::vmx::fails_as_guest(&entry_guest_##identifier##_change, 0))
#define ENTRY_GUEST_GOOD(identifier, title)                                                                  \
    ENTRY_CASE(entry_guest, identifier, title, "Checks on the Guest State Area",                             \
               ::nestbed::vmx::still_enters(&entry_guest_##identifier##_change))
#define ENTRY_GUEST_LINK(identifier, title)                                                                  \
    ENTRY_CASE(entry_guest, identifier, title, "Checks on Guest Non-Register State",                         \
               ::nestbed::vmx::fails_as_guest(&entry_guest_##identifier##_change, 4))
