#include "nested/vmx/guest/events.hpp"

#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/entry_checks.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

namespace {

bool use(Field field, Allowed allowed, std::uint32_t control) {
    return want(field, allowed, control, "KVM does not offer the control");
}

} // namespace

void begin_in_ring_3(L2& guest) {
    // The return address that start() put on the stack of ring 0, which RSP0 is about to take.
    const auto back = *guest::pointer_to<std::uint64_t>(read(Field::guest_rsp));
    move_to_ring_3(guest);
    *guest::pointer_to<std::uint64_t>(read(Field::guest_rsp)) = back;
}

bool use_pin_based(std::uint32_t control) {
    return use(Field::pin_based_controls, allowed_pin_based(), control);
}
bool use_primary(std::uint32_t control) {
    return use(Field::primary_controls, allowed_primary(), control);
}
bool use_secondary(std::uint32_t control) {
    if (!use(Field::secondary_controls, allowed_secondary(), control))
        return false;
    set(Field::primary_controls, primary::activate_secondary_controls);
    return true;
}

bool give_interrupts_to_l2(L2& guest) {
    if (!allowed_pin_based().may_clear(pin_based::external_interrupt_exiting)) {
        conform::not_applicable("external interrupts of L2 always exit");
        return false;
    }
    clear(Field::pin_based_controls, pin_based::external_interrupt_exiting);
    guest.context().end_of_interrupt = 1;
    return true;
}

void expect_no_vectoring(const char* file, std::uint32_t line) {
    conform::expect_equal(read(Field::idt_vectoring_information) >> 31, 0U,
                          "IDT-vectoring information, valid", file, line);
}

} // namespace nestbed::vmx
