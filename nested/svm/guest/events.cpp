#include "nested/svm/guest/events.hpp"

#include "nested/guest/memory.hpp"

namespace nestbed::svm {

namespace {

constexpr std::uint32_t most_vcpus = 64; // of the tests that count
std::uint32_t taken[most_vcpus][256];

void count_one(std::uint64_t vector) {
    guest::add(taken[guest::this_vcpu().vcpu % most_vcpus][vector & 0xff], 1U);
}

constexpr std::uint64_t tsc_deadline_mode = std::uint64_t{2} << 17;

constexpr std::uint16_t user_code64 = 0xafb;
constexpr std::uint16_t user_data = 0xcf3;

} // namespace

void count_interrupts(std::uint8_t vector) {
    guest::set_interrupt_handler(vector, &count_one);
}

std::uint32_t interrupts_taken_by(std::uint32_t vcpu, std::uint8_t vector) {
    return guest::load(taken[vcpu % most_vcpus][vector]);
}
std::uint32_t interrupts_taken(std::uint8_t vector) {
    return interrupts_taken_by(guest::this_vcpu().vcpu, vector);
}

void start_timer(std::uint64_t ticks, std::uint8_t vector) {
    guest::apic::write(guest::apic::Register::lvt_timer, tsc_deadline_mode | vector);
    guest::wrmsr(guest::apic::tsc_deadline_msr, guest::rdtsc() + ticks);
}

void begin_in_ring_3(L2& guest) {
    auto& save = guest.save();
    auto& context = guest.context();
    // The return address that start() put on the stack of ring 0, which RSP0 is about to take.
    const auto top = conform::physical(context.user_stack) + sizeof context.user_stack;
    *guest::pointer_to<std::uint64_t>(top - 8) = *guest::pointer_to<std::uint64_t>(save.rsp);
    save.rsp = top - 8;
    save.cs = {nestbed::wire::user_code_selector, user_code64, 0xffff'ffff, 0};
    save.ss = save.ds = save.es = {nestbed::wire::user_data_selector, user_data, 0xffff'ffff, 0};
    save.cpl = 3;
}

void start_blob(L2& guest, const char* code) {
    auto& context = guest.context();
    guest.save().rip = address_of(code);
    guest.save().rsp = conform::physical(context.stack) + sizeof context.stack - 64;
}

void point_gate_at(L2& guest, std::uint8_t vector, std::uint64_t handler) {
    auto* const gate = reinterpret_cast<std::uint64_t*>(guest.context().idt + std::uint64_t{16} * vector);
    gate[0] = (handler & 0xffff) | (gate[0] & 0x0000'ffff'ffff'0000) | (handler >> 16 & 0xffff) << 48;
    gate[1] = handler >> 32;
}

void warm_up(L2& guest) {
    const auto control = guest.control();
    const auto save = guest.save();
    const auto registers = guest.registers;
    auto& context = guest.context();
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = rflags_fixed;
    guest.control().int_ctl = 0;
    guest.control().interrupt_shadow = 0;
    guest.control().event_inj = event(EventType::interrupt, 0x21);
    const auto end_of_interrupt = context.end_of_interrupt;
    context.end_of_interrupt = 0;
    guest.run_to_end("L2 runs once beforehand");
    context.end_of_interrupt = end_of_interrupt;
    context.interrupts[0x21] = 0;
    context.delivered = 0;
    guest.control() = control;
    guest.save() = save;
    guest.registers = registers;
}

} // namespace nestbed::svm
