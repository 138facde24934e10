#include "nested/svm/guest/snippet.hpp"

#include "core/wire/layout.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/modes.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::physical;
using conform::Text;

const char* name_of(Mode mode) {
    switch (mode) {
    case Mode::long64:
        return "64-bit mode";
    case Mode::long64_ring3:
        return "64-bit mode, ring 3";
    case Mode::compatibility:
        return "compatibility mode";
    case Mode::protected32:
        return "protected mode";
    case Mode::protected32_ring3:
        return "protected mode, ring 3";
    case Mode::pae32:
        return "protected mode with PAE paging";
    case Mode::real16:
        return "real mode";
    }
    return "";
}

namespace {

constexpr std::uint64_t rf = 1U << 16;

void set_ring3(SaveArea& save, std::uint16_t code, std::uint16_t data) {
    save.cs.selector = nestbed::wire::user_code_selector;
    save.cs.attributes = code;
    Segment* const segments[] = {&save.ss, &save.ds, &save.es};
    for (auto* const segment : segments) {
        segment->selector = nestbed::wire::user_data_selector;
        segment->attributes = data;
    }
    save.cpl = 3;
}

void set_mode(L2& guest, const char* at, Mode mode) {
    auto& save = guest.save();
    const auto code = reinterpret_cast<std::uint64_t>(at);
    const auto stack = mode == Mode::long64 ? 0 : physical(conform::allocate_pages(2));
    switch (mode) {
    case Mode::long64:
        save.rip = code;
        save.rsp = physical(guest.context().stack) + sizeof guest.context().stack - 512;
        break;
    case Mode::long64_ring3:
        save.rip = code;
        save.rsp = stack + 4096;
        set_ring3(save, 0xafb, 0xcf3);
        break;
    case Mode::compatibility:
        set_compatibility_mode(save, code, stack + 4096);
        break;
    case Mode::protected32:
        set_protected_mode(save, code, stack + 4096);
        break;
    case Mode::protected32_ring3:
        set_protected_mode(save, code, stack + 4096);
        set_ring3(save, 0xcfb, 0xcf3);
        break;
    case Mode::pae32:
        set_pae_mode(save, code, stack + 4096);
        break;
    case Mode::real16:
        set_real_mode(save, code, stack);
        break;
    }
}

} // namespace

Before place(L2& guest, const Snippet& snippet, Mode mode) {
    set_mode(guest, snippet.at, mode);
    // No two alike, none with a bit pattern of its own kind; those that reach 16- and 32-bit code have no
    // upper half, since what a processor keeps there is not said.
    auto* const each = &guest.registers.rbx;
    const auto upper = bits_of(mode) == 64 ? std::uint64_t{0x5a17} << 48 : 0;
    for (unsigned i = 0; i < 14; ++i)
        each[i] = (i < 6 ? upper : std::uint64_t{0x5a17} << 48) | 0x0bad'0000U | (i + 1) * 0x111;
    guest.save().rax = upper | 0x0bad'0fffU;
    // Without an IDT of its own an exception would lead L2 astray; this way L1 hears of it.
    if (bits_of(mode) != 64)
        guest.control().intercept_exceptions = ~(1U << 2);
    return state_of(guest);
}

Before state_of(L2& guest) {
    return {guest.registers, guest.save()};
}

std::uint8_t* point_at_buffer(L2& guest, Mode mode) {
    auto* const buffer = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    if (mode == Mode::real16) {
        guest.save().ds.base = physical(buffer);
        guest.save().es.base = physical(buffer);
        guest.registers.rsi = 0;
    } else {
        guest.registers.rsi = physical(buffer);
    }
    return buffer;
}

std::uint64_t rip_of(const Snippet& snippet, const char* place, Mode mode) {
    return mode == Mode::real16 ? static_cast<std::uint64_t>(place - snippet.at)
                                : reinterpret_cast<std::uint64_t>(place);
}

void expect_general_registers(L2& guest, const GeneralRegisters& expected, const char* what, const char* file,
                              std::uint32_t line) {
    static constexpr const char* names[] = {"RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8",
                                            "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    const auto* const seen = &guest.registers.rbx;
    const auto* const wanted = &expected.rbx;
    for (unsigned i = 0; i < 14; ++i)
        expect_equal(seen[i], wanted[i], Text{names[i], " after ", what}, file, line);
}

void expect_untouched(L2& guest, const Before& before, const char* what, const char* file,
                      std::uint32_t line) {
    const auto& save = guest.save();
    const auto& was = before.save;
    expect_equal(save.rip, was.rip, Text{"RIP: at ", what}, file, line);
    expect_equal(save.rax, was.rax, Text{"RAX after ", what}, file, line);
    expect_equal(save.rsp, was.rsp, Text{"RSP after ", what}, file, line);
    // RF is left out: a fault may leave with the RF that its handler would have found (volume 2, 3.1.6).
    expect_equal(save.rflags & ~rf, was.rflags & ~rf, Text{"RFLAGS after ", what}, file, line);
    expect_equal(save.cpl, was.cpl, Text{"CPL after ", what}, file, line);
    expect_equal(save.cs.selector, was.cs.selector, Text{"CS after ", what}, file, line);
    expect_equal(save.cs.base, was.cs.base, Text{"CS base after ", what}, file, line);
    expect_equal(save.ss.selector, was.ss.selector, Text{"SS after ", what}, file, line);
    expect_equal(save.cr0, was.cr0, Text{"CR0 after ", what}, file, line);
    expect_equal(save.cr2, was.cr2, Text{"CR2 after ", what}, file, line);
    expect_equal(save.cr3, was.cr3, Text{"CR3 after ", what}, file, line);
    expect_equal(save.cr4, was.cr4, Text{"CR4 after ", what}, file, line);
    expect_equal(save.efer, was.efer, Text{"EFER after ", what}, file, line);
    expect_equal(save.dr7, was.dr7, Text{"DR7 after ", what}, file, line);
    expect_equal(save.gdtr.base, was.gdtr.base, Text{"GDTR base after ", what}, file, line);
    expect_equal(save.idtr.base, was.idtr.base, Text{"IDTR base after ", what}, file, line);
    expect_equal(save.idtr.limit, was.idtr.limit, Text{"IDTR limit after ", what}, file, line);
    expect_equal(save.ldtr.selector, was.ldtr.selector, Text{"LDTR after ", what}, file, line);
    expect_equal(save.tr.selector, was.tr.selector, Text{"TR after ", what}, file, line);
    expect_general_registers(guest, before.registers, what, file, line);
}

void expect_next_rip(L2& guest, std::uint64_t expected, const char* what, const char* file,
                     std::uint32_t line) {
    if ((svm_features() >> 3 & 1) != 0)
        expect_equal(guest.control().next_rip, expected, Text{"nRIP: after ", what}, file, line);
}

bool run_past(L2& guest, const Snippet& snippet, Mode mode, const char* what, const char* file,
              std::uint32_t line) {
    return guest.run_to(ExitCode::vmmcall, Text{what, " is not intercepted"}, file, line) &&
           expect_equal(guest.save().rip, rip_of(snippet, snippet.after, mode), Text{"RIP: past ", what},
                        file, line);
}

bool run_to_exception(L2& guest, const Snippet& snippet, Mode mode, std::uint8_t vector,
                      std::uint64_t error_code, const char* what, const char* file, std::uint32_t line) {
    guest.intercept_exception(vector);
    if (!guest.run_to(exception_exit(vector), what, file, line))
        return false;
    expect_equal(guest.save().rip, rip_of(snippet, snippet.at, mode), Text{"RIP: at the fault of ", what},
                 file, line);
    return expect_equal(guest.control().exit_info_1, error_code, Text{"EXITINFO1 (error code): ", what}, file,
                        line);
}

guest::ExceptionFrame run_to_handler(L2& guest, std::uint8_t vector, const char* what, const char* file,
                                     std::uint32_t line) {
    // Not run(), which takes an exception in L2 for a failure.
    ++conform::report().runs;
    const auto code = guest.enter();
    const auto& fatal = guest.context().fatal;
    if (expect_equal(code, ExitCode::vmmcall, Text{"EXITCODE: L2's own handler gets ", what}, file, line) &&
        expect_equal(guest.save().rax, conform::l2_died, Text{"RAX of L2's handler for ", what}, file, line))
        expect_equal(fatal.vector, vector, Text{"vector that L2 gets: ", what}, file, line);
    return fatal;
}

} // namespace nestbed::svm
