// That L2 runs at all, in each mode and with each page size of EPT: what every other test stands on.
#include "nested/vmx/guest/case.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/modes.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

VMX_TEST(basic_long_mode, "vmx.basic.long_mode", "L2 runs 64-bit code and leaves by VMCALL", "VM Entries") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 0x1234'5678'9abc'def0; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x1234'5678'9abc'def0U, "what L2 wrote into L1's memory");
}

VMX_TEST(basic_resume, "vmx.basic.resume", "L2 goes on where it was after each of 100 exits", "VM Entries") {
    L2 guest;
    std::uint64_t count = 0;
    auto code = [&] {
        for (;;) {
            ++count;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (std::uint64_t i = 1; i <= 100; ++i) {
        if (!guest.run_to(ExitReason::cpuid, conform::Text{"round ", i}))
            return;
        if (!expect_equal(count, i, "what L2 has counted"))
            return;
        guest.skip();
    }
}

VMX_TEST(basic_two_guests, "vmx.basic.two_guests", "Two L2s run in turn, each with its own state",
         "Virtual-Machine Control Structures") {
    L2 first;
    L2 second;
    std::uint64_t counts[2]{};
    auto code_of_first = [&] {
        for (;;) {
            ++counts[0];
            guest::cpuid(0, 0);
        }
    };
    auto code_of_second = [&] {
        for (;;) {
            counts[1] += 3;
            guest::cpuid(0, 0);
        }
    };
    second.start(code_of_second);
    first.load();
    first.start(code_of_first);
    for (std::uint64_t i = 1; i <= 10; ++i) {
        first.load();
        if (!first.run_to(ExitReason::cpuid, "the first"))
            return;
        first.skip();
        second.load();
        if (!second.run_to(ExitReason::cpuid, "the second"))
            return;
        second.skip();
        expect_equal(counts[0], i, "what the first has counted");
        expect_equal(counts[1], 3 * i, "what the second has counted");
    }
}

VMX_TEST(basic_exception, "vmx.basic.exception", "An exception of L2 that L1 does not intercept is L2's own",
         "Exceptions and the exception bitmap") {
    L2 guest;
    auto code = [] {
        conform::l2_context().resume |= 1U << 3;
        asm volatile("int3");
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.context().exceptions[3], 1U, "#BP that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}

L2_CODE(l2_basic_16, 16, "movl $0x16161616, %eax; pushl %eax; popl %ecx; vmcall");
L2_CODE(l2_basic_32, 32, "movl $0x32323232, %eax; pushl %eax; popl %ecx; vmcall");

namespace {

// Below 1 MiB at a multiple of 16, for modes that reach no further: memory that nothing else uses.
constexpr std::uint64_t low_code = 0x4'0000;
constexpr std::uint64_t low_stack = 0x5'0000;
std::uint64_t copied_low(const char* code) {
    auto* const to = guest::pointer_to<char>(low_code);
    for (unsigned i = 0; i < 64; ++i)
        to[i] = code[i];
    return low_code;
}

using SetMode = void (*)(L2& guest, std::uint64_t code, std::uint64_t stack);

enum class With { nothing, ept, unrestricted };

void run_mode(SetMode set_mode, const char* code, std::uint32_t expected, With with, bool low = false) {
    if (with == With::unrestricted && !has_unrestricted_guest())
        return;
    L2 guest;
    if (with != With::nothing) {
        const ExtendedPageTables ept;
        ept.use_in(guest);
    }
    const auto stack = low ? low_stack : conform::physical(conform::allocate_pages(2)) + 4096;
    set_mode(guest, low ? copied_low(code) : address_of(code), stack);
    if (with == With::unrestricted)
        set(Field::secondary_controls, secondary::unrestricted_guest);
    guest.registers.rax = ~std::uint64_t{0};
    guest.registers.rcx = ~std::uint64_t{0};
    if (!guest.run_to(ExitReason::vmcall, "L2 leaves by VMCALL"))
        return;
    expect_equal(guest.registers.rax, expected, "RAX that L2 left");
    expect_equal(guest.registers.rcx, expected, "RCX that went over L2's stack");
    expect_equal(read(Field::exit_instruction_length), 3U, "VM-exit instruction length");
}

} // namespace

VMX_TEST(basic_real_mode, "vmx.basic.real_mode", "L2 runs 16-bit code in real mode", "Unrestricted Guests",
         .needs = "ept,unrestricted_guest") {
    run_mode(&set_real_mode, l2_basic_16, 0x1616'1616, With::unrestricted, true);
}
VMX_TEST(basic_protected_mode, "vmx.basic.protected_mode", "L2 runs 32-bit code with paging off",
         "Unrestricted Guests", .needs = "ept,unrestricted_guest") {
    run_mode(&set_protected_mode, l2_basic_32, 0x3232'3232, With::unrestricted);
}

// Modes with paging: without EPT, with it, and as an unrestricted guest.
#define MODE(mode, name, what, code, expected, low)                                                          \
    VMX_TEST(basic_##mode, "vmx.basic." name, "L2 runs " what, "VM Entries") {                               \
        run_mode(&set_##mode, code, expected, With::nothing, low);                                           \
    }                                                                                                        \
    VMX_TEST(basic_##mode##_ept, "vmx.basic." name "_ept", "L2 under EPT runs " what,                        \
             "The Extended Page Table Mechanism", .needs = "ept") {                                          \
        run_mode(&set_##mode, code, expected, With::ept, low);                                               \
    }                                                                                                        \
    VMX_TEST(basic_##mode##_unrestricted, "vmx.basic." name "_unrestricted",                                 \
             "An unrestricted L2 runs " what, "Unrestricted Guests", .needs = "ept,unrestricted_guest") {    \
        run_mode(&set_##mode, code, expected, With::unrestricted, low);                                      \
    }
MODE(pae_mode, "pae", "32-bit code with PAE paging", l2_basic_32, 0x3232'3232, false)
MODE(legacy_paging_mode, "legacy_paging", "32-bit code with two-level paging", l2_basic_32, 0x3232'3232,
     false)
MODE(compatibility_mode, "compatibility_mode", "32-bit code in IA-32e mode", l2_basic_32, 0x3232'3232, false)
MODE(virtual_8086_mode, "virtual_8086", "16-bit code as a virtual-8086 task", l2_basic_16, 0x1616'1616, true)

namespace {
template<PageSize size>
void run_with_ept() {
    if (!has_page_size(size))
        return conform::not_applicable("EPT has no pages of this size (IA32_VMX_EPT_VPID_CAP)");
    L2 guest;
    const ExtendedPageTables ept{size};
    ept.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] { seen = 0x4550'5421; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x4550'5421U, "what L2 wrote through EPT");
}
} // namespace

VMX_CASE(basic_ept_4k, "vmx.basic.ept_4k", "L2 runs on EPT of 4 KiB pages",
         "The Extended Page Table Mechanism", &run_with_ept<PageSize::k4>, .needs = "ept")
VMX_CASE(basic_ept_2m, "vmx.basic.ept_2m", "L2 runs on EPT of 2 MiB pages",
         "The Extended Page Table Mechanism", &run_with_ept<PageSize::m2>, .needs = "ept")
VMX_CASE(basic_ept_1g, "vmx.basic.ept_1g", "L2 runs on EPT of 1 GiB pages",
         "The Extended Page Table Mechanism", &run_with_ept<PageSize::g1>, .needs = "ept")

} // namespace nestbed::vmx
