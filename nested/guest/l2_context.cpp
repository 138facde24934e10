#include "nested/guest/l2_context.hpp"

#include "core/guest/apic.hpp"
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"

namespace nestbed::conform {

namespace {

extern "C" const char l2_vector_stubs[];
extern "C" void enter_user(void (*function)(void*), void* argument, std::uint64_t user_stack,
                           std::uint64_t* tss_rsp0);

constexpr std::uint64_t stub_stride = 16;

// Interrupt gate, present, DPL 3 (APM volume 2, 4.8.4).
void write_gate(std::uint8_t* to, std::uint64_t handler) {
    auto* const words = reinterpret_cast<std::uint64_t*>(to);
    words[0] = (handler & 0xffff) | std::uint64_t{nestbed::wire::kernel_code_selector} << 16 |
               std::uint64_t{0xee00} << 32 | (handler >> 16 & 0xffff) << 48;
    words[1] = handler >> 32;
}

} // namespace

L2Context& make_l2_context() {
    auto& context = allocate<L2Context>();
    context.self = &context;
    context.resume = 1U << 2;
    context.fatal.vector = ~std::uint64_t{0};
    for (unsigned vector = 0; vector < 256; ++vector)
        write_gate(context.idt + std::uint64_t{16} * vector,
                   reinterpret_cast<std::uint64_t>(l2_vector_stubs) + vector * stub_stride);
    // The vCPU's own GDT, with a task of L2's.
    const auto* const block = guest::pointer_to<std::uint8_t>(guest::this_vcpu().self);
    for (std::size_t i = 0; i < sizeof context.gdt; ++i)
        context.gdt[i] = block[nestbed::wire::percpu_gdt + i];
    const auto tss = physical(context.tss);
    auto* const descriptor = reinterpret_cast<std::uint64_t*>(context.gdt + nestbed::wire::task_selector);
    descriptor[0] = 0x67 | (tss & 0xff'ffff) << 16 | std::uint64_t{0x89} << 40 | (tss >> 24 & 0xff) << 56;
    descriptor[1] = tss >> 32;
    // RSP0 is at offset 4 (APM volume 2, figure 12-8).
    *reinterpret_cast<std::uint64_t*>(context.tss + 4) = physical(context.stack) + sizeof context.stack;
    return context;
}

void l2_user(void (*function)(void*), void* argument) {
    auto& context = l2_context();
    enter_user(function, argument, physical(context.user_stack) + sizeof context.user_stack,
               reinterpret_cast<std::uint64_t*>(context.tss + 4));
}

namespace {

void note(L2Context& context, const guest::ExceptionFrame& frame) {
    if (context.delivered < sizeof context.order)
        context.order[context.delivered] = static_cast<std::uint8_t>(frame.vector);
    ++context.delivered;
    context.last = frame;
}

} // namespace

// Called by l2_vectors.S.
extern "C" void handle_l2_vector(guest::ExceptionFrame* frame) {
    auto& context = l2_context();
    note(context, *frame);
    if (frame->vector >= 32) {
        ++context.interrupts[frame->vector & 0xff];
        if (context.hook != nullptr)
            context.hook(*frame);
        if (context.end_of_interrupt != 0)
            guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
        return;
    }
    ++context.exceptions[frame->vector];
    context.last_cr2 = guest::control_register<2>();
    if (context.hook != nullptr && context.hook(*frame))
        return;
    if ((context.resume >> frame->vector & 1) != 0 || guest::land_in_guard(*frame))
        return;
    context.fatal = *frame;
    context.fatal_cr2 = context.last_cr2;
    for (;;)
        l2_hypercall(l2_died);
}

} // namespace nestbed::conform
