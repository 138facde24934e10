// Exceptions of L2 by the exception bitmap, each vector set and clear, and page faults by error code (SDM
// volume 3, "Exceptions" in "Other Causes of VM Exits", "Information for VM Exits Due to Vectored Events").
#include <utility>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t rflags_rf = 1U << 16;
constexpr std::uint64_t nowhere = std::uint64_t{1} << 46;
constexpr std::uint64_t not_canonical = std::uint64_t{1} << 62;

struct Raised {
    const Snippet& from;
    const Snippet& code;
    std::uint8_t vector;
    EventType type;
    bool has_error_code;
    std::uint32_t error_code;
    bool trap; // RIP is behind the instruction
    void (*prepare)(L2& guest);
    bool in_32_bit_mode;
};

void set_up(L2& guest, const Raised& raised) {
    if (raised.in_32_bit_mode)
        place_32(guest, raised.from);
    else
        place(guest, raised.from);
    guest.registers.rsi = conform::physical(conform::allocate_pages(2));
    if (raised.prepare != nullptr)
        raised.prepare(guest);
}

// Its own bit is the only one that is set. MOV to x87 and SSE state is L2's business, so flags and other
// registers are not compared.
template<const Raised& raised>
void leaves() {
    L2 guest;
    set_up(guest, raised);
    guest.intercept_exception(raised.vector);
    const auto cr2 = guest::control_register<2>();
    if (!guest.run_to(ExitReason::exception_or_nmi, "the exception"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 raised.has_error_code ? event_with_error_code(raised.type, raised.vector)
                                       : event(raised.type, raised.vector),
                 "interruption information");
    if (raised.has_error_code)
        expect_equal(read(Field::exit_interruption_error_code), raised.error_code, "error code");
    const bool software = raised.type == EventType::software_exception;
    expect_equal(read(Field::guest_rip), raised.trap ? raised.code.end() : raised.code.address(),
                 "guest RIP");
    if (software)
        expect_equal(read(Field::exit_instruction_length), raised.code.end() - raised.code.address(),
                     "VM-exit instruction length");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
    if (raised.trap || software)
        expect_equal(read(Field::guest_rflags) & rflags_rf, 0U, "RF in guest RFLAGS");
    expect_equal(guest::control_register<2>(), cr2, "CR2, which no exit writes");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

// Every other bit is set. L2 takes it itself.
template<const Raised& raised>
void stays() {
    L2 guest;
    set_up(guest, raised);
    write(Field::exception_bitmap, ~(1U << raised.vector));
    handle_by_skipping(guest, raised.code);
    if (!guest.run_to(ExitReason::vmcall, "L2 goes on behind its handler"))
        return;
    const auto& context = guest.context();
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(context.exceptions[raised.vector], 1U, "of them this exception");
    expect_equal(context.last.error_code, raised.has_error_code ? raised.error_code : 0, "error code");
    const bool after = raised.trap || raised.type == EventType::software_exception;
    expect_equal(context.last.rflags & rflags_rf, after ? 0 : rflags_rf, "RF on L2's stack");
}

constexpr auto hardware = EventType::hardware_exception;

L2_SNIPPET_FROM(raise_de, "xorl %ebx, %ebx; xorl %edx, %edx", "divl %ebx");
L2_SNIPPET_FROM(raise_db, "pushfq; orq $0x100, (%rsp); popfq", "nop");
L2_SNIPPET_FROM(raise_ud, "", "ud2");
L2_SNIPPET_FROM(raise_nm, "", "fnop");
L2_SNIPPET_FROM(raise_np, "movl $0x50, %eax", "movw %ax, %fs");
L2_SNIPPET_FROM(raise_ss, "movq $1, %rbp; shlq $62, %rbp", "movq 0(%rbp), %rax");
L2_SNIPPET_FROM(raise_gp, "movq $1, %rbx; shlq $62, %rbx", "movq 0(%rbx), %rax");
L2_SNIPPET_FROM(raise_gp_selector, "movl $0x7c, %eax", "movw %ax, %ds");
L2_SNIPPET_FROM(raise_pf, "", "movq 0(%rbx), %rax");
L2_SNIPPET_FROM(raise_mf, "fninit; pushq $0x33b; fldcw (%rsp); fldz; fld1; fdivp", "fwait");
L2_SNIPPET_FROM(raise_ac, "pushfq; orq $0x40000, (%rsp); popfq", "movl 1(%rsi), %eax");
L2_SNIPPET_FROM(
    raise_xm,
    "movl $0x1d80, (%rsi); ldmxcsr (%rsi); movl $0x3f800000, %eax; movd %eax, %xmm0; pxor %xmm1, %xmm1",
    "divss %xmm1, %xmm0");
L2_SNIPPET_32(raise_of, "into");
L2_SNIPPET_32(raise_br, "bound %eax, (%esi)");
L2_SNIPPET_FROM(raise_icebp, "", ".byte 0xf1");

void unmask_floating_point(L2&) {
    set(Field::guest_cr4, 3U << 9); // OSFXSR, OSXMMEXCPT
    clear(Field::guest_cr0, 0xc);   // EM, TS
    set(Field::guest_cr0, 2U);      // MP
}
void task_switched(L2&) {
    set(Field::guest_cr0, 8);
    clear(Field::guest_cr0, 4);
}
void check_alignment(L2& guest) {
    move_to_ring_3(guest);
    set(Field::guest_cr0, 1U << 18);
}
void not_present_segment(L2& guest) {
    reinterpret_cast<std::uint64_t*>(guest.context().gdt)[data_not_present / 8] = 0x00cf'1300'0000'ffff;
}
void at_nowhere(L2& guest) {
    guest.registers.rbx = nowhere;
}
void overflowed(L2&) {
    set(Field::guest_rflags, 1U << 11);
}
void out_of_bounds(L2& guest) {
    auto* const bounds = guest::pointer_to<std::uint32_t>(guest.registers.rsi);
    bounds[0] = 1;
    bounds[1] = 2;
    guest.registers.rax = 3;
}

} // namespace

// NOLINTBEGIN
#define LEAVES(name, number, title)                                                                          \
    VMX_CASE(exit_##name##_set, "vmx.exit." #name "_set",                                                    \
             title " leaves L2 where its bit alone is set in the exception bitmap", "Exceptions",            \
             (&leaves<raised_##name>))
#define STAYS(name, number, title)                                                                           \
    VMX_CASE(exit_##name##_clear, "vmx.exit." #name "_clear",                                                \
             title " is L2's own where every bit but its own is set in the exception bitmap", "Exceptions",  \
             (&stays<raised_##name>))
#define RAISED(name, code, number, type, has_error, error, trap, prepare, title)                             \
    static constexpr Raised raised_##name{code##_from, code, number,  type, has_error,                       \
                                          error,       trap, prepare, false};                                \
    LEAVES(name, number, title);                                                                             \
    STAYS(name, number, title)
#define RAISED_32(name, code, number, type, prepare, title)                                                  \
    static constexpr Raised raised_##name{code, code, number, type, false, 0, false, prepare, true};         \
    LEAVES(name, number, title)
// NOLINTEND
RAISED(exception_0_de, raise_de, 0, hardware, false, 0, false, nullptr, "#DE");
RAISED(exception_1_db, raise_db, 1, hardware, false, 0, true, nullptr, "#DB of a single step");
RAISED(exception_6_ud, raise_ud, 6, hardware, false, 0, false, nullptr, "#UD");
RAISED(exception_7_nm, raise_nm, 7, hardware, false, 0, false, &task_switched, "#NM");
RAISED(exception_11_np, raise_np, 11, hardware, true, data_not_present, false, &not_present_segment, "#NP");
RAISED(exception_12_ss, raise_ss, 12, hardware, true, 0, false, nullptr, "#SS");
RAISED(exception_13_gp, raise_gp, 13, hardware, true, 0, false, nullptr, "#GP");
RAISED(exception_13_gp_selector, raise_gp_selector, 13, hardware, true, 0x7c, false, nullptr,
       "#GP with a selector");
RAISED(exception_14_pf, raise_pf, 14, hardware, true, 0, false, &at_nowhere, "#PF");
RAISED(exception_16_mf, raise_mf, 16, hardware, false, 0, false, &unmask_floating_point, "#MF");
RAISED(exception_17_ac, raise_ac, 17, hardware, true, 0, false, &check_alignment, "#AC");
RAISED(exception_19_xm, raise_xm, 19, hardware, false, 0, false, &unmask_floating_point, "#XM");
RAISED_32(exception_4_of, raise_of, 4, EventType::software_exception, &overflowed, "#OF");
RAISED_32(exception_5_br, raise_br, 5, hardware, &out_of_bounds, "#BR");

VMX_TEST(exit_exception_rf, "vmx.exit.exception_rf",
         "The exit of a fault saves RFLAGS as its delivery would have pushed it, with RF",
         "Saving RIP, RSP, RFLAGS, and SSP") {
    for (const auto* const raised :
         {&raised_exception_0_de, &raised_exception_6_ud, &raised_exception_13_gp, &raised_exception_14_pf}) {
        L2 guest;
        set_up(guest, *raised);
        guest.intercept_exception(raised->vector);
        guest.run_to(ExitReason::exception_or_nmi, "the exception");
        expect_equal(read(Field::guest_rflags) & rflags_rf, rflags_rf,
                     Text{"RF in guest RFLAGS, vector ", raised->vector});
    }
}
VMX_TEST(exit_db_qualification, "vmx.exit.exception_db_single_step",
         "The #DB of a single step has BS in the exit qualification; DR6 stays",
         "Basic VM-Exit Information") {
    L2 guest;
    set_up(guest, raised_exception_1_db);
    guest.intercept_exception(1);
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    asm volatile("mov %%dr6, %0" : "=r"(before));
    guest.run_to(ExitReason::exception_or_nmi, "#DB");
    asm volatile("mov %%dr6, %0" : "=r"(after));
    expect_equal(read(Field::exit_qualification), 0x4000U, "exit qualification");
    expect_equal(after, before, "DR6, which no exit writes");
}
VMX_TEST(exit_icebp, "vmx.exit.exception_icebp",
         "INT1 is a #DB of privileged software, with the length of its instruction",
         "Information for VM Exits Due to Vectored Events") {
    L2 guest;
    place(guest, raise_icebp);
    guest.intercept_exception(1);
    if (!guest.run_to(ExitReason::exception_or_nmi, "INT1"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event(EventType::privileged_software_exception, 1), "interruption information");
    expect_equal(read(Field::exit_instruction_length), 1U, "VM-exit instruction length");
    expect_equal(read(Field::guest_rip), raise_icebp.address(), "guest RIP");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
}
L2_SNIPPET(raise_int_3, ".byte 0xcd, 3"); // not INT3
L2_SNIPPET(raise_int_6, "int $6");
L2_SNIPPET(raise_int_13, "int $13");
L2_SNIPPET(raise_int_14, "int $14");
VMX_TEST(exit_software_interrupt, "vmx.exit.int_n_not_an_exception",
         "INT n is no exception: the exception bitmap does not count for it", "Exceptions") {
    for (const auto& [code, vector] : {std::pair{&raise_int_3, 3}, {&raise_int_6, 6}, {&raise_int_13, 13}}) {
        L2 guest;
        place(guest, *code);
        write(Field::exception_bitmap, ~0U);
        guest.context().value[15] = code->end();
        guest.context().hook = [](guest::ExceptionFrame& frame) {
            // INT n pushes no error code where an exception does.
            auto* const words = &frame.vector;
            if (words[0] == 13 && words[1] == conform::l2_context().value[15]) {
                conform::l2_context().value[14] = 1;
                conform::l2_hypercall(conform::l2_done);
            }
            return true;
        };
        guest.run_to(ExitReason::vmcall, Text{"INT ", vector});
        expect_equal(guest.context().exceptions[vector], 1U, "what L2's handler has seen");
    }
}

// Double faults: no delivery of another event is behind the exit (SDM, "Information for VM Exits That Occur
// During Event Delivery").
VMX_TEST(exit_double_fault, "vmx.exit.exception_8_df",
         "#DF leaves L2 with error code 0, without IDT-vectoring information", "Exceptions") {
    L2 guest;
    place(guest, raise_gp);
    guest.registers.rbx = not_canonical;
    write(Field::guest_rip, raise_gp.address());
    write(Field::guest_idtr_limit, 16 * 9 - 1); // #DF is the last
    guest.intercept_exception(8);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DF"))
        return;
    expect_equal(read(Field::exit_interruption_information), event_with_error_code(hardware, 8),
                 "interruption information");
    expect_equal(read(Field::exit_interruption_error_code), 0U, "error code");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}
VMX_TEST(exit_second_fault, "vmx.exit.exception_while_delivered",
         "#GP of a delivery leaves L2 with the first exception in the IDT-vectoring information",
         "Information for VM Exits That Occur During Event Delivery") {
    L2 guest;
    place(guest, raise_ud);
    write(Field::guest_idtr_limit, 16 * 6 - 1); // no gate for #UD
    guest.intercept_exception(13);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#GP"))
        return;
    expect_equal(read(Field::exit_interruption_information), event_with_error_code(hardware, 13),
                 "interruption information");
    expect_equal(read(Field::exit_interruption_error_code), 6U * 8 + 2 + 1, "error code: IDT, EXT, vector 6");
    expect_equal(read(Field::idt_vectoring_information), event(hardware, 6), "IDT-vectoring information");
    expect_equal(read(Field::guest_rip), raise_ud.address(), "guest RIP");
}
VMX_TEST(exit_second_fault_int, "vmx.exit.exception_while_int_delivered",
         "#GP of INT n's delivery leaves L2 with the software interrupt and its length",
         "Information for VM Exits That Occur During Event Delivery") {
    L2 guest;
    place(guest, raise_int_14);
    write(Field::guest_idtr_limit, 16 * 14 - 1);
    guest.intercept_exception(13);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#GP"))
        return;
    expect_equal(read(Field::exit_interruption_error_code), 14U * 8 + 2,
                 "error code: IDT, vector 14, no EXT");
    expect_equal(read(Field::idt_vectoring_information), event(EventType::software_interrupt, 14),
                 "IDT-vectoring information");
    expect_equal(read(Field::exit_instruction_length), 2U, "VM-exit instruction length");
    expect_equal(read(Field::guest_rip), raise_int_14.address(), "guest RIP");
}

// #PF: the bit of the exception bitmap says what happens where the error code matches, its opposite
// elsewhere.
namespace {

L2_SNIPPET(fault_read, "movb (%rbx), %al");
L2_SNIPPET(fault_write, "movb %al, (%rbx)");
L2_SNIPPET(fault_fetch, "jmp *%rbx");

struct PageFault {
    const Snippet& code;
    bool ring_3;
    bool present; // a page of the supervisor's, or read-only
    std::uint32_t error_code;
};

// The address of a page that is there and that neither ring 3 may touch nor ring 0 write or run.
std::uint64_t protected_page() {
    // PML4 entry 1 onwards, in a copy of the top table.
    auto* const top = static_cast<std::uint64_t*>(conform::allocate_pages(4));
    conform::copy_page(top, guest::pointer_to<void>(read(Field::guest_cr3) & ~std::uint64_t{0xfff}));
    auto* const tables = top + 512;
    constexpr std::uint64_t present_writable_user = 7;
    constexpr std::uint64_t execute_disable = std::uint64_t{1} << 63;
    top[16] = conform::physical(tables) | present_writable_user;
    tables[0] = conform::physical(tables + 512) | present_writable_user;
    tables[512] = conform::physical(tables + 1024) | present_writable_user;
    tables[1024] = conform::physical(conform::allocate_pages(1)) | 1 | execute_disable;
    write(Field::guest_cr3, conform::physical(top));
    return std::uint64_t{16} << 39;
}

// 0 to 31 in mask and match are 1024 pairs: those of which each bit is 0/0, 1/0, 1/1, 0/1 are enough.
template<const PageFault& fault>
void by_error_code() {
    L2 guest;
    set(Field::guest_cr0, 1U << 16);
    set(Field::guest_ia32_efer, 1U << 11); // NXE
    const auto address = fault.present ? protected_page() : nowhere;
    for (const bool bit : {false, true})
        for (std::uint32_t row = 0; row < 12; ++row) {
            const auto mask = row < 5 ? 1U << row : row == 5 ? 0 : row == 6 ? 0x1fU : 0x1fU ^ 1U << (row - 7);
            for (const auto match :
                 {fault.error_code & mask, fault.error_code, ~fault.error_code & mask, 0U}) {
                place(guest, fault.code);
                if (fault.ring_3)
                    move_to_ring_3(guest);
                guest.registers.rbx = address;
                guest.intercept_exception(14, bit);
                write(Field::page_fault_error_code_mask, mask);
                write(Field::page_fault_error_code_match, match);
                handle_by_skipping(guest, fault.code);
                guest.context().delivered = 0;
                const bool leaves = ((fault.error_code & mask) == match) == bit;
                const Text what{"bit ",     bit ? 1 : 0,        ", mask ", conform::Hex{mask},
                                ", match ", conform::Hex{match}};
                if (!guest.run_to(leaves ? ExitReason::exception_or_nmi : ExitReason::vmcall, what))
                    return;
                expect_equal(guest.context().delivered, leaves ? 0U : 1U, what);
                if (!leaves) {
                    expect_equal(guest.context().last.error_code, fault.error_code,
                                 "error code that L2 sees");
                    expect_equal(guest.context().last_cr2, address, "CR2 that L2 sees");
                    continue;
                }
                expect_equal(read(Field::exit_interruption_error_code), fault.error_code, "error code");
                expect_equal(read(Field::exit_qualification), address, "exit qualification");
                expect_equal(read(Field::exit_interruption_information), event_with_error_code(hardware, 14),
                             "interruption information");
            }
        }
}

} // namespace
// NOLINTBEGIN
#define PAGE_FAULTS(name, title, ...)                                                                        \
    static constexpr PageFault fault_##name{__VA_ARGS__};                                                    \
    VMX_CASE(exit_fault_##name, "vmx.exit.page_fault_of_" #name,                                             \
             "#PF of " title " leaves L2 by bit 14, mask and match of its error code", "Exceptions",         \
             &by_error_code<fault_##name>)
// NOLINTEND
PAGE_FAULTS(read_absent, "a read of a page that is not there", fault_read, false, false, 0);
PAGE_FAULTS(write_absent, "a write to a page that is not there", fault_write, false, false, 2);
PAGE_FAULTS(fetch_absent, "a fetch from a page that is not there", fault_fetch, false, false, 0x10);
PAGE_FAULTS(write_read_only, "a write to a read-only page", fault_write, false, true, 3);
PAGE_FAULTS(fetch_disabled, "a fetch from an execute-disable page", fault_fetch, false, true, 0x11);
PAGE_FAULTS(user_read_absent, "a read in ring 3 of a page that is not there", fault_read, true, false, 4);
PAGE_FAULTS(user_write_absent, "a write in ring 3 to a page that is not there", fault_write, true, false, 6);
PAGE_FAULTS(user_read, "a read in ring 3 of a supervisor page", fault_read, true, true, 5);
PAGE_FAULTS(user_write, "a write in ring 3 to a supervisor page", fault_write, true, true, 7);
PAGE_FAULTS(user_fetch, "a fetch in ring 3 from a supervisor page", fault_fetch, true, true, 0x15);

VMX_TEST(exit_pf_high_bits, "vmx.exit.page_fault_high_bits",
         "All 32 bits of mask and match count: a match that no error code can have never matches",
         "Exceptions") {
    L2 guest;
    for (const std::uint32_t bit : {5U, 15U, 16U, 31U}) {
        place(guest, fault_read);
        guest.registers.rbx = nowhere;
        guest.intercept_exception(14);
        write(Field::page_fault_error_code_mask, 1U << bit);
        write(Field::page_fault_error_code_match, 1U << bit);
        handle_by_skipping(guest, fault_read);
        guest.run_to(ExitReason::vmcall, Text{"bit 14 set, bit ", bit, " in mask and match"});
        place(guest, fault_read);
        guest.registers.rbx = nowhere;
        guest.intercept_exception(14, false);
        guest.run_to(ExitReason::exception_or_nmi, Text{"bit 14 clear, bit ", bit, " in mask and match"});
    }
}

} // namespace nestbed::vmx
