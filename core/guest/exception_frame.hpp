// What an exception finds on the stack.
#pragma once

#include <cstdint>

namespace nestbed::guest {

// As the entry code pushes it, lowest address first; then what the stub and the processor pushed.
struct ExceptionFrame {
    std::uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    std::uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    std::uint64_t vector, error_code;
    std::uint64_t rip, cs, rflags, rsp, ss;
};

} // namespace nestbed::guest
