#include "nested/svm/guest/events.hpp"

#include "nested/guest/memory.hpp"

namespace nestbed::svm {

namespace {

constexpr std::uint16_t user_code64 = 0xafb;
constexpr std::uint16_t user_data = 0xcf3;

} // namespace

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
