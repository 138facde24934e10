// Control, debug and flag registers and MSRs of the guest-state area, into L2 and back (SDM volume 3,
// "Loading Guest State", "Saving Guest State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;

namespace {

#define LOADING "Loading Guest Control Registers, Debug Registers, and MSRs"
#define SAVING "Saving Control Registers, Debug Registers, and MSRs"

constexpr std::uint64_t cr0_changeable = 1U << 1 | 1U << 2 | 1U << 3 | 1U << 16 | 1U << 18; // MP EM TS WP AM
constexpr std::uint64_t cr0_ts = 1U << 3;
constexpr std::uint64_t cr0_wp = 1U << 16;
constexpr std::uint64_t cr4_vmxe = 1U << 13;

void write_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

// Whether L2 may set this bit of CR4: allowed by VMX, and by CPUID as L1's own CR4 shows.
bool cr4_has(unsigned bit) {
    const auto mask = std::uint64_t{1} << bit;
    if ((guest::rdmsr(msr::vmx_cr4_fixed1) & mask) == 0)
        return false;
    const auto before = guest::control_register<4>();
    const auto fault = guest::catch_fault([&] { write_cr4(before | mask); });
    write_cr4(before);
    return !fault.raised;
}

// L2's CR0 is its own, but for what L1 says.
void cr0_bit(unsigned bit) {
    const auto mask = std::uint64_t{1} << bit;
    L2 guest;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    auto code = [&] {
        first = guest::control_register<0>();
        write_cr0(first ^ mask);
        second = guest::control_register<0>();
        guest::cpuid(0, 0);
        second = guest::control_register<0>();
    };
    guest.start(code);
    const auto value = guest::control_register<0>() ^ mask;
    write(Field::guest_cr0, value);
    // Behind a mask this would be seen.
    write(Field::cr0_read_shadow, ~value & 0xffff'ffff);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(first, value, "CR0 as L2 finds it");
    expect_equal(second, value ^ mask, "CR0 as L2 reads it after its write");
    expect_equal(read(Field::guest_cr0), value ^ mask, "guest CR0 after the exit");
    expect_equal(guest::control_register<0>(), read(Field::host_cr0), "L1's CR0");
    // And at a VMRESUME.
    guest.skip();
    write(Field::guest_cr0, value);
    guest.run_to_end();
    expect_equal(second, value, "CR0 as L2 finds it after VMRESUME");
    expect_equal(read(Field::guest_cr0), value, "guest CR0 after the last exit");
}

void cr4_bit(unsigned bit) {
    const auto mask = std::uint64_t{1} << bit;
    if (!cr4_has(bit))
        return not_applicable("CR4 has no such bit here");
    L2 guest;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    auto code = [&] {
        first = guest::control_register<4>();
        write_cr4(first ^ mask);
        second = guest::control_register<4>();
        guest::cpuid(0, 0);
        second = guest::control_register<4>();
    };
    guest.start(code);
    const auto value = guest::control_register<4>() ^ mask;
    write(Field::guest_cr4, value);
    write(Field::cr4_guest_host_mask, 0);
    write(Field::cr4_read_shadow, ~value & 0xffff'ffff);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(first, value, "CR4 as L2 finds it");
    expect_equal(second, value ^ mask, "CR4 as L2 reads it after its write");
    expect_equal(read(Field::guest_cr4), value ^ mask, "guest CR4 after the exit");
    expect_equal(guest::control_register<4>(), read(Field::host_cr4), "L1's CR4");
    guest.skip();
    write(Field::guest_cr4, value);
    guest.run_to_end();
    expect_equal(second, value, "CR4 as L2 finds it after VMRESUME");
    expect_equal(read(Field::guest_cr4), value, "guest CR4 after the last exit");
}

} // namespace

#define CR0_BIT(name, bit, text)                                                                             \
    VMX_TEST(switch_cr0_##name, "vmx.switch.cr0_" #name, "CR0." text " is L2's own, in and out", LOADING) {  \
        cr0_bit(bit);                                                                                        \
    }
CR0_BIT(mp, 1, "MP")
CR0_BIT(em, 2, "EM")
CR0_BIT(ts, 3, "TS")
CR0_BIT(wp, 16, "WP")
CR0_BIT(am, 18, "AM")
#define CR4_BIT(name, bit, text)                                                                             \
    VMX_TEST(switch_cr4_##name, "vmx.switch.cr4_" #name, "CR4." text " is L2's own, in and out", LOADING) {  \
        cr4_bit(bit);                                                                                        \
    }
CR4_BIT(vme, 0, "VME")
CR4_BIT(pvi, 1, "PVI")
CR4_BIT(tsd, 2, "TSD")
CR4_BIT(de, 3, "DE")
CR4_BIT(pse, 4, "PSE")
CR4_BIT(mce, 6, "MCE")
CR4_BIT(pge, 7, "PGE")
CR4_BIT(pce, 8, "PCE")
CR4_BIT(osfxsr, 9, "OSFXSR")
CR4_BIT(osxmmexcpt, 10, "OSXMMEXCPT")
CR4_BIT(umip, 11, "UMIP")
CR4_BIT(fsgsbase, 16, "FSGSBASE")
CR4_BIT(pcide, 17, "PCIDE")
CR4_BIT(osxsave, 18, "OSXSAVE")
CR4_BIT(pke, 22, "PKE")

VMX_TEST(switch_cr0_cd_nw, "vmx.switch.cr0_cd_nw",
         "CR0.CD and NW of the guest and host state are ignored: VM entry and exit keep them", LOADING) {
    L2 guest;
    constexpr std::uint64_t cd_nw = 3U << 29;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::control_register<0>(); };
    const auto before = guest::control_register<0>();
    guest.start(code);
    write(Field::guest_cr0, before ^ 1U << 30);
    write(Field::host_cr0, before ^ 1U << 30);
    guest.run_to_end();
    expect_equal(seen & cd_nw, before & cd_nw, "CR0.CD and NW in L2");
    expect_equal(guest::control_register<0>() & cd_nw, before & cd_nw, "CR0.CD and NW in L1");
}

// Masks: what L1 owns L2 reads from the shadow and cannot change.
VMX_TEST(switch_cr0_shadow, "vmx.switch.cr0_shadow",
         "L2 reads bits of CR0 that L1 owns from the shadow, the others from CR0, by MOV and SMSW",
         "Guest/Host Masks and Read Shadows for CR0 and CR4") {
    for (unsigned bit = 0; bit < 32; ++bit) {
        const auto mask = std::uint64_t{1} << bit & (cr0_changeable | 1 | 1U << 31 | 1U << 5);
        if (mask == 0)
            continue;
        L2 guest;
        std::uint64_t seen = 0;
        std::uint64_t word = 0;
        auto code = [&] {
            seen = guest::control_register<0>();
            asm volatile("smsw %0" : "=r"(word));
        };
        guest.start(code);
        const auto cr0 = guest::control_register<0>();
        write(Field::cr0_guest_host_mask, mask);
        write(Field::cr0_read_shadow, cr0 ^ mask ^ (0x7'0000 & ~mask)); // the rest is not looked at
        if (!guest.run_to_end())
            return;
        expect_equal(seen, cr0 ^ mask, conform::Text{"CR0 in L2, bit ", bit, " owned by L1"});
        expect_equal(word & 0xffff, (cr0 ^ mask) & 0xffff, conform::Text{"SMSW in L2, bit ", bit});
        expect_equal(read(Field::guest_cr0), cr0, "guest CR0 after the exit");
    }
}
VMX_TEST(switch_cr4_shadow, "vmx.switch.cr4_shadow",
         "L2 reads bits of CR4 that L1 owns from the shadow, the others from CR4",
         "Guest/Host Masks and Read Shadows for CR0 and CR4") {
    for (const unsigned bit : {2, 3, 5, 6, 7, 9, 10, 13}) {
        const auto mask = std::uint64_t{1} << bit;
        L2 guest;
        std::uint64_t seen = 0;
        auto code = [&] { seen = guest::control_register<4>(); };
        guest.start(code);
        const auto cr4 = guest::control_register<4>();
        write(Field::cr4_guest_host_mask, mask);
        write(Field::cr4_read_shadow, cr4 ^ mask ^ 0x4);
        if (!guest.run_to_end())
            return;
        const auto expected = (cr4 & ~mask) | (read(Field::cr4_read_shadow) & mask);
        expect_equal(seen, expected, conform::Text{"CR4 in L2, bit ", bit, " owned by L1"});
        expect_equal(read(Field::guest_cr4), cr4, "guest CR4 after the exit");
    }
}
VMX_TEST(switch_cr0_owned_kept, "vmx.switch.cr0_owned_kept",
         "A write of L2's to CR0 that agrees with the shadow changes only the bits that L1 does not own",
         LOADING) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        write_cr0(guest::control_register<0>() ^ (cr0_ts | 1U << 1));
        seen = guest::control_register<0>();
    };
    guest.start(code);
    const auto cr0 = guest::control_register<0>();
    write(Field::cr0_guest_host_mask, cr0_wp | 1U << 18);
    write(Field::cr0_read_shadow, ~cr0);
    guest.run_to_end();
    const auto changed = cr0 ^ (cr0_ts | 1U << 1);
    expect_equal(read(Field::guest_cr0), changed,
                 "guest CR0: L1's bits as L1 wrote them, the others as L2 did");
    expect_equal(seen, changed ^ (cr0_wp | 1U << 18), "CR0 as L2 reads it");
}
VMX_TEST(switch_cr4_owned_kept, "vmx.switch.cr4_owned_kept",
         "A write of L2's to CR4 that agrees with the shadow changes only the bits that L1 does not own",
         LOADING) {
    L2 guest;
    std::uint64_t seen = 0;
    constexpr std::uint64_t own = 1U << 2 | 1U << 3; // TSD, DE
    constexpr std::uint64_t owned = cr4_vmxe | 1U << 9;
    auto code = [&] {
        write_cr4(guest::control_register<4>() ^ own);
        seen = guest::control_register<4>();
    };
    guest.start(code);
    const auto cr4 = guest::control_register<4>();
    write(Field::cr4_guest_host_mask, owned);
    write(Field::cr4_read_shadow, cr4 ^ owned);
    guest.run_to_end();
    expect_equal(read(Field::guest_cr4), cr4 ^ own,
                 "guest CR4: L1's bits as L1 wrote them, the others as L2 did");
    expect_equal(seen, cr4 ^ own ^ owned, "CR4 as L2 reads it");
}
VMX_TEST(switch_cr0_ts_effect, "vmx.switch.cr0_ts_effect",
         "CR0.TS of the guest state is in force though its shadow is 0, and not where only its shadow is 1",
         "Guest/Host Masks and Read Shadows for CR0 and CR4") {
    for (const bool real : {true, false}) {
        L2 guest;
        guest::Fault fault;
        auto code = [&] { fault = guest::catch_fault([] { asm volatile("fnop"); }); };
        guest.start(code);
        const auto cr0 = guest::control_register<0>() & ~(cr0_ts | 1U << 2);
        write(Field::guest_cr0, real ? cr0 | cr0_ts : cr0);
        write(Field::cr0_guest_host_mask, cr0_ts);
        write(Field::cr0_read_shadow, real ? cr0 : cr0 | cr0_ts);
        if (!guest.run_to_end())
            return;
        expect_equal(fault.raised, real, real ? "#NM with TS = 1" : "#NM with TS = 0");
        if (real)
            expect_equal(fault.vector, 7U, "vector");
    }
}
VMX_TEST(switch_cr0_clts, "vmx.switch.cr0_clts",
         "CLTS clears TS in CR0 and in the guest state, where L1 does not own it", SAVING) {
    L2 guest;
    auto code = [] { asm volatile("clts"); };
    guest.start(code);
    const auto cr0 = guest::control_register<0>();
    write(Field::guest_cr0, cr0 | cr0_ts);
    guest.run_to_end();
    expect_equal(read(Field::guest_cr0), cr0 & ~cr0_ts, "guest CR0");
}
VMX_TEST(switch_cr0_lmsw, "vmx.switch.cr0_lmsw",
         "LMSW changes MP, EM and TS in CR0 and in the guest state, where L1 does not own them", SAVING) {
    L2 guest;
    auto code = [] { asm volatile("lmsw %%ax" : : "a"(1 | cr0_ts)); };
    guest.start(code);
    const auto cr0 = guest::control_register<0>();
    write(Field::guest_cr0, (cr0 | 2) & ~cr0_ts);
    guest.run_to_end();
    expect_equal(read(Field::guest_cr0), (cr0 & ~std::uint64_t{6}) | cr0_ts, "guest CR0");
}

VMX_TEST(switch_cr3, "vmx.switch.cr3", "CR3 is L2's own, with its low bits, in and out", LOADING) {
    if (!allowed_primary().may_clear(primary::cr3_load_exiting) ||
        !allowed_primary().may_clear(primary::cr3_store_exiting))
        return not_applicable("accesses to CR3 always exit");
    L2 guest;
    clear(Field::primary_controls, primary::cr3_load_exiting | primary::cr3_store_exiting);
    auto* const copy = conform::allocate_pages(1);
    const auto cr3 = guest::control_register<3>();
    conform::copy_page(copy, guest::pointer_to<void>(cr3 & ~std::uint64_t{0xfff}));
    const auto other = conform::physical(copy) | 0x18; // PCD, PWT
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    auto code = [&] {
        first = guest::control_register<3>();
        write_cr3(cr3 | 0x8);
        second = guest::control_register<3>();
    };
    guest.start(code);
    write(Field::guest_cr3, other);
    guest.run_to_end();
    expect_equal(first, other, "CR3 as L2 finds it");
    expect_equal(second, cr3 | 0x8, "CR3 as L2 reads it after its write");
    expect_equal(read(Field::guest_cr3), cr3 | 0x8, "guest CR3");
    expect_equal(guest::control_register<3>(), cr3, "L1's CR3");
}

VMX_TEST(switch_cr2, "vmx.switch.cr2", "CR2 is not switched: L2 has L1's, and L1 then L2's", "VM Entries") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = guest::control_register<2>();
        asm volatile("movq %0, %%cr2" : : "r"(std::uint64_t{0x2222'3333'4444}));
    };
    guest.start(code);
    asm volatile("movq %0, %%cr2" : : "r"(std::uint64_t{0x1111'5555'6666}));
    guest.run_to_end();
    expect_equal(seen, 0x1111'5555'6666U, "CR2 in L2");
    expect_equal(guest::control_register<2>(), 0x2222'3333'4444U, "CR2 in L1 after the exit");
}

#define DEBUG_REGISTER(n, first, second)                                                                     \
    VMX_TEST(switch_dr##n, "vmx.switch.dr" #n, "DR" #n " is not switched: L2 has L1's, and L1 then L2's",    \
             "VM Entries") {                                                                                 \
        L2 guest;                                                                                            \
        std::uint64_t seen = 0;                                                                              \
        auto code = [&] {                                                                                    \
            asm volatile("movq %%dr" #n ", %0" : "=r"(seen));                                                \
            asm volatile("movq %0, %%dr" #n : : "r"(std::uint64_t{second}));                                 \
        };                                                                                                   \
        guest.start(code);                                                                                   \
        asm volatile("movq %0, %%dr" #n : : "r"(std::uint64_t{first}));                                      \
        guest.run_to_end();                                                                                  \
        expect_equal(seen, std::uint64_t{first}, "DR" #n " in L2");                                          \
        asm volatile("movq %%dr" #n ", %0" : "=r"(seen));                                                    \
        expect_equal(seen, std::uint64_t{second}, "DR" #n " in L1 after the exit");                          \
    }
DEBUG_REGISTER(0, 0x1111'2222'3330, 0x4444'5555'6660)
DEBUG_REGISTER(1, 0x1111'2222'3331, 0x4444'5555'6661)
DEBUG_REGISTER(2, 0x1111'2222'3332, 0x4444'5555'6662)
DEBUG_REGISTER(3, 0x1111'2222'3333, 0x4444'5555'6663)
DEBUG_REGISTER(6, 0xffff'0ff5, 0xffff'4ffa)

namespace {

// RFLAGS as L2 finds it, before anything has touched it; then L2 sets those of RSI.
L2_CODE(l2_vs_flags, 64, "pushfq; popq (%rdi); pushq %rsi; popfq; vmcall");

void flags(std::uint64_t in, std::uint64_t out) {
    L2 guest;
    auto& seen = guest.context().value[0];
    start_code(guest, l2_vs_flags, conform::physical(&seen));
    guest.registers.rsi = out;
    write(Field::guest_rflags, in);
    if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
        return;
    expect_equal(seen, in, "RFLAGS as L2 finds it");
    expect_equal(read(Field::guest_rflags), out, "guest RFLAGS after the exit");
    expect_equal(guest.registers.rsi, out, "RSI");
}

} // namespace

#define FLAG(name, bits, text)                                                                               \
    VMX_TEST(switch_rflags_##name, "vmx.switch.rflags_" #name, "RFLAGS: " text ", in and out",               \
             "Loading Guest RIP, RSP, SSP, and RFLAGS") {                                                    \
        flags(rflags_fixed | (bits), rflags_fixed);                                                          \
        flags(rflags_fixed, rflags_fixed | (bits));                                                          \
        flags(rflags_fixed | (bits), rflags_fixed | (bits));                                                 \
    }
FLAG(arithmetic, 0x8d5U, "CF, PF, AF, ZF, SF and OF")
FLAG(if, rflags_if, "IF")
FLAG(df, 1U << 10, "DF")
FLAG(iopl, 3U << 12, "IOPL")
FLAG(nt, 1U << 14, "NT")
FLAG(ac, 1U << 18, "AC")
FLAG(id, 1U << 21, "ID")

namespace {

L2_CODE(l2_vs_rsp, 64, "movq %rsp, (%rdi); leaq -24(%rsp), %rsp; nop; nop; vmcall");

} // namespace

VMX_TEST(switch_rip_rsp, "vmx.switch.rip_rsp", "RIP and RSP are L2's own, in and out, for any RSP",
         "Loading Guest RIP, RSP, SSP, and RFLAGS") {
    for (const auto rsp :
         {std::uint64_t{0}, std::uint64_t{0x8000'0000'0000'0001}, ~std::uint64_t{0}, std::uint64_t{0x1234}}) {
        L2 guest;
        auto& seen = guest.context().value[0];
        start_code(guest, l2_vs_rsp, conform::physical(&seen));
        write(Field::guest_rsp, rsp);
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        expect_equal(seen, rsp, "RSP as L2 finds it");
        expect_equal(read(Field::guest_rsp), rsp - 24, "guest RSP");
        expect_equal(read(Field::guest_rip), address_of(l2_vs_rsp) + 3 + 5 + 2, "guest RIP");
    }
}

namespace {

L2_CODE(l2_vs_registers, 64,
        "incq %rax; incq %rbx; incq %rcx; incq %rdx; incq %rsi; incq %rdi; incq %rbp; incq %r8; incq %r9;"
        "incq %r10; incq %r11; incq %r12; incq %r13; incq %r14; incq %r15; vmcall");

} // namespace

VMX_TEST(switch_general_registers, "vmx.switch.general_registers",
         "General registers pass through VM entry and VM exit untouched", "VM Entries") {
    L2 guest;
    start_code(guest, l2_vs_registers);
    auto* const values = &guest.registers.rax;
    for (unsigned round = 0; round < 3; ++round) {
        write(Field::guest_rip, address_of(l2_vs_registers));
        for (unsigned i = 0; i < 15; ++i)
            values[i] = 0xfedc'ba98'7654'3210 + (std::uint64_t{i} << 32) + round;
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        for (unsigned i = 0; i < 15; ++i)
            expect_equal(
                values[i], 0xfedc'ba98'7654'3211 + (std::uint64_t{i} << 32) + round,
                conform::Text{"general register ", i, " (RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8...)"});
    }
}

} // namespace nestbed::vmx
