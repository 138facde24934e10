// What else an EPT violation leaves behind in L2's state, what L2's own control registers have to do with
// EPT, and IA32_VMX_EPT_VPID_CAP.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/snippet.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t rflags_rf = 1U << 16;
constexpr std::uint64_t blocking_by_sti = 1U << 0;
constexpr std::uint64_t blocking_by_mov_ss = 1U << 1;
constexpr std::uint64_t cr4_smep = 1U << 20;
constexpr std::uint64_t cr4_smap = 1U << 21;

} // namespace

VMX_TEST(ept_capabilities, "vmx.ept.capabilities", "IA32_VMX_EPT_VPID_CAP is consistent",
         "VPID and EPT Capabilities", .needs = "ept") {
    const auto value = ept_vpid_capabilities();
    // Bits that the manual names; 53:48 are the largest HLAT prefix.
    constexpr std::uint64_t named = 0x3f'0f01'06f3'41c1;
    expect_equal(value & ~named, 0U, "reserved bits");
    expect((value & (ept_capability::walk_length_4 | ept_capability::walk_length_5)) != 0,
           "a page-walk length is offered");
    expect((value & (ept_capability::uncacheable | ept_capability::write_back)) != 0,
           "a memory type of EPT's own structures is offered");
    expect_equal((value & ept_capability::invept) != 0, has_invept(1) || has_invept(2),
                 "whether INVEPT and a type of it are offered");
    if (allowed_secondary().may_set(secondary::enable_vpid))
        expect_equal((value & ept_capability::invvpid) != 0,
                     has_invvpid(0) || has_invvpid(1) || has_invvpid(2) || has_invvpid(3),
                     "whether INVVPID and a type of it are offered");
}

VMX_TEST(ept_rf, "vmx.ept.violation_saves_rf",
         "An EPT violation saves RFLAGS with RF set, as a fault does, and the rest as it was",
         "Saving RIP, RSP, RFLAGS, and SSP", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    window.start(Touch::read, 0);
    window.ept_entry(1) &= ~ept_bit::all;
    window.ept.invalidate();
    if (!window.guest.run_to(ExitReason::ept_violation, "a read"))
        return;
    expect_equal(read(Field::guest_rflags) & rflags_rf, rflags_rf, "RFLAGS.RF");
}

namespace {

L2_SNIPPET(read_after_sti, "sti; movq (%rsi), %rax");
L2_SNIPPET(read_after_mov_ss, "movl %ecx, %ss; movq (%rsi), %rax");

void shadow(const Snippet& snippet, unsigned first_length, std::uint64_t expected) {
    if (!Window::possible())
        return;
    Window window;
    place(window.guest, snippet);
    window.guest.registers.rsi = window.linear() + window_data;
    window.guest.registers.rcx = nestbed::wire::kernel_data_selector;
    auto& entry = window.ept_entry(1);
    const auto before = entry;
    entry = 0;
    window.ept.invalidate();
    window.guest.run();
    if (!expect_ept_violation(final_access(Touch::read), window.address() + window_data,
                              window.linear() + window_data, "a read in the shadow"))
        return;
    expect_equal(read(Field::guest_rip), snippet.address() + first_length, "guest RIP");
    expect_equal(read(Field::guest_interruptibility_state), expected, "guest interruptibility state");
    entry = before;
    if (!window.guest.run_to(ExitReason::vmcall, "the read goes through"))
        return;
    expect_equal(window.guest.registers.rax, window_value, "what L2 read");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "guest interruptibility state at the VMCALL");
}

} // namespace

VMX_TEST(ept_sti, "vmx.ept.violation_after_sti",
         "An EPT violation of the instruction after STI saves blocking by STI", "Saving Non-Register State",
         .needs = "ept") {
    shadow(read_after_sti, 1, blocking_by_sti);
}
VMX_TEST(ept_mov_ss, "vmx.ept.violation_after_mov_ss",
         "An EPT violation of the instruction after MOV SS saves blocking by MOV SS",
         "Saving Non-Register State", .needs = "ept") {
    shadow(read_after_mov_ss, 2, blocking_by_mov_ss);
}

namespace {

L2_SNIPPET(rep_movs, "rep movsb");

// The source or the destination goes over into a page that EPT lacks.
void rep_progress(bool source) {
    if (!Window::possible())
        return;
    Window window;
    const auto pages = conform::physical(conform::allocate_pages(2));
    const auto other = conform::physical(conform::allocate_pages(1));
    for (unsigned i = 0; i < 200; ++i)
        *guest::pointer_to<std::uint8_t>((source ? pages + 4096 - 100 : other) + i) =
            static_cast<std::uint8_t>(i + 1);
    auto& entry = window.ept.entry(pages + 4096, 1);
    const auto before = entry;
    place(window.guest, rep_movs);
    auto& registers = window.guest.registers;
    registers.rcx = 200;
    registers.rsi = source ? pages + 4096 - 100 : other;
    registers.rdi = source ? other : pages + 4096 - 100;
    entry = 0;
    window.ept.invalidate();
    window.guest.run();
    const auto access = source ? Touch::read : Touch::write;
    if (!expect_ept_violation(final_access(access), pages + 4096, pages + 4096, "the 101st byte"))
        return;
    expect_equal(read(Field::guest_rip), rep_movs.address(), "guest RIP");
    expect_equal(registers.rcx, 100U, "RCX at the violation");
    expect_equal(registers.rsi, (source ? pages + 4096 - 100 : other) + 100, "RSI at the violation");
    expect_equal(registers.rdi, (source ? other : pages + 4096 - 100) + 100, "RDI at the violation");
    entry = before;
    if (!window.guest.run_to(ExitReason::vmcall, "the move goes on"))
        return;
    expect_equal(registers.rcx, 0U, "RCX in the end");
    for (unsigned i = 0; i < 200; ++i)
        if (!expect_equal(*guest::pointer_to<std::uint8_t>((source ? other : pages + 4096 - 100) + i),
                          static_cast<std::uint8_t>(i + 1), Text{"byte ", i}))
            return;
}

} // namespace

VMX_TEST(ept_rep_source, "vmx.ept.rep_movs_source",
         "REP MOVS whose source runs into an EPT violation stands where it got to", "EPT Violations",
         .needs = "ept") {
    rep_progress(true);
}
VMX_TEST(ept_rep_destination, "vmx.ept.rep_movs_destination",
         "REP MOVS whose destination runs into an EPT violation stands where it got to", "EPT Violations",
         .needs = "ept") {
    rep_progress(false);
}

// SMEP and SMAP are matters of L2's CR4 and L2's tables: L1's own CR4 has nothing to do with L2 under EPT.
namespace {

void user_page(std::uint64_t bit, unsigned cpuid_bit, Touch access, std::uint64_t error_code) {
    if ((guest::cpuid(7, 0).ebx >> cpuid_bit & 1) == 0)
        return conform::not_applicable("the vCPU has no such protection");
    if (!Window::possible())
        return;
    Window window;
    window.guest.intercept_exception(14);
    // All that L1 and L2 are made of is the supervisor's, the window alone is the user's.
    window.own.entry(0, 4) &= ~page_bit::user;
    write(Field::host_cr3, window.own.root());
    const auto host = read(Field::host_cr4);
    for (unsigned round = 0; round < 4; ++round) {
        const bool in_l2 = round % 2 != 0;
        const bool in_l1 = round / 2 != 0;
        const Text what{in_l2 ? "set in L2" : "clear in L2", in_l1 ? ", set in L1" : ", clear in L1"};
        (in_l2 ? set : clear)(Field::guest_cr4, bit);
        write(Field::host_cr4, in_l1 ? host | bit : host & ~bit);
        window.start(access, 0);
        if (!in_l2) {
            window.finish(what);
            continue;
        }
        if (window.guest.run_to(ExitReason::exception_or_nmi, what)) {
            expect_equal(read(Field::exit_interruption_error_code), error_code, Text{what, ": error code"});
            expect_equal(read(Field::exit_qualification), window.linear() + Window::offset(access),
                         Text{what, ": address"});
        }
    }
    write(Field::host_cr4, host);
    clear(Field::guest_cr4, bit);
    window.start(access, 0);
    window.finish("clear in both again");
}

} // namespace

VMX_TEST(ept_smep, "vmx.ept.guest_smep", "SMEP is that of L2's CR4, whatever L1's has", "Access Rights",
         .needs = "ept") {
    user_page(cr4_smep, 7, Touch::fetch, 0x11);
}
VMX_TEST(ept_smap, "vmx.ept.guest_smap", "SMAP is that of L2's CR4, whatever L1's has", "Access Rights",
         .needs = "ept") {
    user_page(cr4_smap, 20, Touch::read, 1);
}

// L1 may write an entry in any way that memory is written.
namespace {

enum class Store { bytes, halves, locked, exchange, string };

void store(std::uint64_t& entry, std::uint64_t value, Store how) {
    switch (how) {
    case Store::bytes:
        for (unsigned i = 0; i < 8; ++i)
            reinterpret_cast<volatile std::uint8_t*>(&entry)[i] = static_cast<std::uint8_t>(value >> 8 * i);
        return;
    case Store::halves:
        asm volatile("movl %1, 4(%0); movl %2, (%0)"
                     :
                     : "r"(&entry), "r"(static_cast<std::uint32_t>(value >> 32)),
                       "r"(static_cast<std::uint32_t>(value))
                     : "memory");
        return;
    case Store::locked:
        asm volatile("lock xorq %1, (%0)" : : "r"(&entry), "r"(entry ^ value) : "memory", "cc");
        return;
    case Store::exchange: {
        auto before = entry;
        asm volatile("lock cmpxchgq %2, (%1)" : "+a"(before) : "r"(&entry), "r"(value) : "memory", "cc");
        return;
    }
    default: {
        const auto* from = &value;
        auto* to = &entry;
        std::uint64_t count = 1;
        asm volatile("cld; rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
        return;
    }
    }
}

template<Store how>
void written_so() {
    if (!Window::possible())
        return;
    Window window;
    constexpr std::uint64_t value[2]{0x1111'2222'3333'4444, 0x5555'6666'7777'8888};
    ExtendedPageTables other;
    window.ept_entry(1) = page_with(value[0]) | ept_bit::leaf;
    other.entry(window.address(), 1) = page_with(value[1]) | ept_bit::leaf;
    for (unsigned level = 1; level <= 4; ++level) {
        auto& entry = window.ept_entry(level);
        const std::uint64_t values[2]{entry, other.entry(window.address(), level)};
        for (unsigned round = 0; round < 4; ++round) {
            const auto which = (round + 1) % 2;
            store(entry, values[which], how);
            window.ept.invalidate();
            std::uint64_t seen = 0;
            auto code = [&] { seen = word_at(window.linear()); };
            window.guest.start(code);
            window.guest.run_to_end();
            expect_equal(seen, value[which], Text{"level ", level, ", round ", round});
        }
        store(entry, values[0], how);
        window.ept.invalidate();
    }
}

} // namespace

#define WRITTEN(how, title)                                                                                  \
    VMX_CASE(ept_written_##how, "vmx.ept.change_by_" #how,                                                   \
             "An EPT entry that L1 changes by " title " is in force", "INVEPT", &written_so<Store::how>,     \
             .needs = "ept,invept")
WRITTEN(bytes, "single bytes")
WRITTEN(halves, "two stores of 32 bits")
WRITTEN(locked, "a locked XOR")
WRITTEN(exchange, "a compare and exchange")
WRITTEN(string, "REP MOVS")

} // namespace nestbed::vmx
