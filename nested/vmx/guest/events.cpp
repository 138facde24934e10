#include "nested/vmx/guest/events.hpp"

#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::uint32_t most_vcpus = 64; // of the tests that count
std::uint32_t taken[most_vcpus][256];

void count_one(std::uint64_t vector) {
    guest::add(taken[guest::this_vcpu().vcpu % most_vcpus][vector & 0xff], 1U);
}

constexpr std::uint64_t tsc_deadline_mode = std::uint64_t{2} << 17;
constexpr std::uint32_t user_code64 = 0xa0fb;
constexpr std::uint32_t user_data = 0xc0f3;

bool use(Field field, Allowed allowed, std::uint32_t control) {
    if (!allowed.may_set(control)) {
        conform::not_applicable("KVM does not offer the control");
        return false;
    }
    set(field, control);
    return true;
}

} // namespace

void count_interrupts(std::uint8_t vector) {
    guest::set_interrupt_handler(vector, &count_one);
}
std::uint32_t interrupts_taken(std::uint8_t vector) {
    return interrupts_taken_by(guest::this_vcpu().vcpu, vector);
}
std::uint32_t interrupts_taken_by(std::uint32_t vcpu, std::uint8_t vector) {
    return guest::load(taken[vcpu % most_vcpus][vector]);
}

void start_timer(std::uint64_t ticks, std::uint8_t vector) {
    guest::apic::write(guest::apic::Register::lvt_timer, tsc_deadline_mode | vector);
    guest::wrmsr(guest::apic::tsc_deadline_msr, guest::rdtsc() + ticks);
}

void begin_in_ring_3(L2& guest) {
    auto& context = guest.context();
    // The return address that start() put on the stack of ring 0, which RSP0 is about to take.
    const auto top = conform::physical(context.user_stack) + sizeof context.user_stack;
    *guest::pointer_to<std::uint64_t>(top - 8) = *guest::pointer_to<std::uint64_t>(read(Field::guest_rsp));
    write(Field::guest_rsp, top - 8);
    write(Field::guest_cs_selector, nestbed::wire::user_code_selector);
    write(Field::guest_cs_access_rights, user_code64);
    for (const auto field : {Field::guest_ss_selector, Field::guest_ds_selector, Field::guest_es_selector})
        write(field, nestbed::wire::user_data_selector);
    for (const auto field :
         {Field::guest_ss_access_rights, Field::guest_ds_access_rights, Field::guest_es_access_rights})
        write(field, user_data);
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
