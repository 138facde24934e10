#include "core/guest/guard.hpp"

#include "core/guest/cpu.hpp"
#include "core/wire/layout.hpp"

namespace nestbed::guest {

extern "C" const char guard_landing[];

bool land_in_guard(ExceptionFrame& frame) {
    Guard* guard = nullptr;
    asm volatile("movq %%gs:328, %0" : "=r"(guard)); // wire::Mailbox::guard
    if (guard == nullptr)
        return false;
    guard->fault = {.raised = true,
                    .vector = static_cast<std::uint8_t>(frame.vector),
                    .error_code = frame.error_code,
                    .rip = frame.rip,
                    .cr2 = frame.vector == 14 ? control_register<2>() : 0};
    frame.rip = reinterpret_cast<std::uint64_t>(&guard_landing);
    frame.rsp = guard->stack;
    frame.rflags = guard->rflags;
    frame.cs = wire::kernel_code_selector;
    frame.ss = wire::kernel_data_selector;
    return true;
}

} // namespace nestbed::guest
