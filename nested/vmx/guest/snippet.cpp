#include "nested/vmx/guest/snippet.hpp"

#include "nested/guest/memory.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t first_value = 0x1111'2222'3333'4400;

std::uint64_t* values(GeneralRegisters& registers) {
    return &registers.rax;
}
constexpr unsigned count = 15;

void expect_registers(L2& guest, const GeneralRegisters& before, const char* file, std::uint32_t line) {
    const auto* const was = &before.rax;
    const auto* const is = &guest.registers.rax;
    for (unsigned i = 0; i < count; ++i)
        expect_equal(is[i], was[i],
                     Text{"general register ", i, " (RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8...)"}, file, line);
}

} // namespace

void place(L2& guest, const Snippet& snippet) {
    guest.start_at(nullptr, nullptr);
    write(Field::guest_rip, snippet.address());
    for (unsigned i = 0; i < count; ++i)
        values(guest.registers)[i] = first_value + i;
}

bool expect_exit(L2& guest, const Snippet& snippet, ExitReason reason, std::uint64_t qualification,
                 const char* file, std::uint32_t line) {
    const auto before = guest.registers;
    const auto flags = read(Field::guest_rflags);
    if (!guest.run_to(reason, "the instruction", file, line))
        return false;
    expect_equal(read(Field::guest_rip), snippet.address(), "guest RIP", file, line);
    expect_equal(read(Field::exit_instruction_length), snippet.end() - snippet.address(),
                 "VM-exit instruction length", file, line);
    expect_equal(read(Field::exit_qualification), qualification, "exit qualification", file, line);
    expect_equal(read(Field::guest_rflags), flags, "guest RFLAGS", file, line);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid", file,
                 line);
    expect_registers(guest, before, file, line);
    return true;
}

bool expect_executes(L2& guest, const Snippet& snippet, const char* file, std::uint32_t line) {
    return guest.run_to(ExitReason::vmcall, "the VMCALL behind the instruction", file, line) &&
           expect_equal(read(Field::guest_rip), snippet.end(), "guest RIP", file, line);
}

bool expect_exception(L2& guest, const Snippet& snippet, std::uint8_t vector, std::uint64_t error_code,
                      const char* file, std::uint32_t line) {
    if (!guest.run_to(ExitReason::exception_or_nmi, "the exception", file, line))
        return false;
    const auto information = static_cast<std::uint32_t>(read(Field::exit_interruption_information));
    expect_equal(information & 0xff, vector, "vector", file, line);
    expect_equal(information >> 31, 1U, "interruption information, valid", file, line);
    if ((information & event_error_code) != 0)
        expect_equal(read(Field::exit_interruption_error_code), error_code, "error code", file, line);
    return expect_equal(read(Field::guest_rip), snippet.address(), "guest RIP", file, line);
}

} // namespace nestbed::vmx
