// Segment registers of the guest-state area and the descriptor tables, into L2 and back (SDM volume 3,
// "Loading Guest Segment Registers and Descriptor-Table Registers", "Saving Segment Registers and
// Descriptor-Table Registers").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

#define LOADING "Loading Guest Segment Registers and Descriptor-Table Registers"
#define SAVING "Saving Segment Registers and Descriptor-Table Registers"

struct Segment {
    const char* name;
    Field selector, limit, access, base;
};

constexpr Segment es{"ES", Field::guest_es_selector, Field::guest_es_limit, Field::guest_es_access_rights,
                     Field::guest_es_base};
constexpr Segment cs{"CS", Field::guest_cs_selector, Field::guest_cs_limit, Field::guest_cs_access_rights,
                     Field::guest_cs_base};
constexpr Segment ss{"SS", Field::guest_ss_selector, Field::guest_ss_limit, Field::guest_ss_access_rights,
                     Field::guest_ss_base};
constexpr Segment ds{"DS", Field::guest_ds_selector, Field::guest_ds_limit, Field::guest_ds_access_rights,
                     Field::guest_ds_base};
constexpr Segment fs{"FS", Field::guest_fs_selector, Field::guest_fs_limit, Field::guest_fs_access_rights,
                     Field::guest_fs_base};
constexpr Segment gs{"GS", Field::guest_gs_selector, Field::guest_gs_limit, Field::guest_gs_access_rights,
                     Field::guest_gs_base};
constexpr Segment ldtr{"LDTR", Field::guest_ldtr_selector, Field::guest_ldtr_limit,
                       Field::guest_ldtr_access_rights, Field::guest_ldtr_base};
constexpr Segment tr{"TR", Field::guest_tr_selector, Field::guest_tr_limit, Field::guest_tr_access_rights,
                     Field::guest_tr_base};

struct Values {
    std::uint64_t selector, limit, access, base;
};

constexpr std::uint64_t unusable = 0x1'0000;

void put(const Segment& segment, const Values& values) {
    write(segment.selector, values.selector);
    write(segment.limit, values.limit);
    write(segment.access, values.access);
    write(segment.base, values.base);
}
void expect_values(const Segment& segment, const Values& values, const char* when,
                   const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    expect_equal(read(segment.selector), values.selector, Text{segment.name, " selector, ", when}, file,
                 line);
    expect_equal(read(segment.limit), values.limit, Text{segment.name, " limit, ", when}, file, line);
    expect_equal(read(segment.access), values.access, Text{segment.name, " access rights, ", when}, file,
                 line);
    expect_equal(read(segment.base), values.base, Text{segment.name, " base, ", when}, file, line);
}

// SELECTORS: as L2 reads them, to (%rdi) and following.
L2_CODE(l2_vs_selectors, 64,
        "xorl %eax, %eax; movw %es, %ax; movq %rax, (%rdi); movw %cs, %ax; movq %rax, 8(%rdi);"
        "movw %ss, %ax; movq %rax, 16(%rdi); movw %ds, %ax; movq %rax, 24(%rdi); movw %fs, %ax;"
        "movq %rax, 32(%rdi); movw %gs, %ax; movq %rax, 40(%rdi); sldt %eax; movq %rax, 48(%rdi);"
        "str %eax; movq %rax, 56(%rdi); vmcall");

// All four fields of one segment, over an exit, other values at a resume, and with another VMCS in between.
void round_trip(const Segment& segment, unsigned index, const Values& first, const Values& second) {
    L2 guest;
    L2 other;
    guest.load();
    auto& seen = guest.context().value;
    unsigned round = 0;
    for (const auto& values : {first, second, first}) {
        put(segment, values);
        start_code(guest, l2_vs_selectors, conform::physical(seen));
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        expect_equal(seen[index], values.selector, Text{segment.name, " as L2 reads it, entry ", ++round});
        if (round == 2) {
            // L0 may keep what L1 has not asked for, until another VMCS is used.
            other.load();
            start_code(other, l2_vs_selectors, conform::physical(other.context().value));
            if (!other.run_to(ExitReason::vmcall, "VMCALL of another L2"))
                return;
            guest.load();
        }
        expect_values(segment, values, "after the exit");
    }
}

} // namespace

#define ROUND_TRIP(name, index, ...)                                                                         \
    VMX_TEST(switch_segment_##name, "vmx.switch.segment_" #name,                                             \
             "Selector, limit, access rights and base of " #name                                             \
             " are L2's own, at VMLAUNCH and VMRESUME, and kept over exits",                                 \
             LOADING) {                                                                                      \
        round_trip(name, index, __VA_ARGS__);                                                                \
    }
ROUND_TRIP(es, 0, {0x38, 0xfff, 0x4093, 0x1234'5000}, {0x43, 0xffff'ffff, 0xc0f1, 0x8765'4321})
ROUND_TRIP(cs, 1, {0x48, 0xffff'ffff, 0xa09b, 0}, {0x50, 0xfffff, 0x209d, 0})
ROUND_TRIP(ss, 2, {0x58, 0x7fff, 0x4093, 0x2345'6000}, {0x60, 0xffff'ffff, 0xc097, 0x1000})
ROUND_TRIP(ds, 3, {0x68, 0xfff, 0x4093, 0x3456'7000}, {0x73, 0xffff'ffff, 0xc0f3, 0x1111'1111})
ROUND_TRIP(fs, 4, {0x78, 0xabc, 0x4091, 0xffff'8000'1234'5678}, {0x3b, 0xfff'ffff, 0xc0f3, 0x7fff'1234'5678})
ROUND_TRIP(ldtr, 6, {0x48, 0x77, 0x82, 0xffff'9000'1234'5678}, {0x50, 0xffff, 0x82, 0x1234'5678})
ROUND_TRIP(tr, 7, {0x58, 0x67, 0x8b, 0xffff'a000'1234'5678}, {0x60, 0xffff, 0x8b, 0x1234'5000})

VMX_TEST(switch_segment_unusable, "vmx.switch.segment_unusable",
         "Segments that are unusable are so in L2 and after the exit, and keep their selectors", LOADING) {
    const Segment* const segments[]{&es, &ds, &fs, &ldtr};
    constexpr unsigned index[]{0, 3, 4, 6};
    for (unsigned i = 0; i < 4; ++i) {
        L2 guest;
        auto& seen = guest.context().value;
        start_code(guest, l2_vs_selectors, conform::physical(seen));
        write(segments[i]->access, unusable);
        write(segments[i]->selector, 0x38);
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        expect_equal(seen[index[i]], 0x38U, Text{segments[i]->name, " as L2 reads it"});
        expect_equal(read(segments[i]->access) & unusable, unusable,
                     Text{segments[i]->name, " unusable after the exit"});
    }
}

VMX_TEST(switch_fs_gs_base, "vmx.switch.fs_gs_base",
         "The bases of FS and GS are those MSRs in L2, and what L2 writes there is in the guest state",
         LOADING) {
    L2 guest;
    std::uint64_t first[2]{};
    auto code = [&] {
        const auto own = guest::rdmsr(msr::gs_base);
        first[0] = guest::rdmsr(msr::fs_base);
        first[1] = own;
        guest::wrmsr(msr::fs_base, 0xffff'8765'4321'0000);
        guest::wrmsr(msr::gs_base, own + 8);
        guest::cpuid(0, 0);
        guest::wrmsr(msr::gs_base, own);
    };
    guest.start(code);
    const auto own = read(Field::guest_gs_base);
    write(Field::guest_fs_base, 0x7123'4567'89ab);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(first[0], 0x7123'4567'89abU, "FS base in L2");
    expect_equal(first[1], own, "GS base in L2");
    expect_equal(read(Field::guest_fs_base), 0xffff'8765'4321'0000U, "guest FS base");
    expect_equal(read(Field::guest_gs_base), own + 8, "guest GS base");
    guest.skip();
    guest.run_to_end();
    expect_equal(read(Field::guest_gs_base), own, "guest GS base after the last exit");
}

VMX_TEST(switch_gdtr_idtr, "vmx.switch.gdtr_idtr",
         "GDTR and IDTR are L2's own, and what L2 loads is in the guest state", LOADING) {
    struct [[gnu::packed]] Table {
        std::uint16_t limit;
        std::uint64_t base;
    };
    L2 guest;
    Table gdt{};
    Table idt{};
    const Table new_gdt{0x5f, conform::physical(guest.context().gdt) + 0};
    const Table new_idt{0x7ff, conform::physical(guest.context().idt) + 0};
    auto code = [&] {
        asm volatile("sgdt %0" : "=m"(gdt));
        asm volatile("sidt %0" : "=m"(idt));
        asm volatile("lgdt %0" : : "m"(new_gdt));
        asm volatile("lidt %0" : : "m"(new_idt));
    };
    guest.start(code);
    write(Field::guest_gdtr_limit, 0x4567);
    write(Field::guest_idtr_limit, 0x89ab);
    write(Field::guest_gdtr_base, 0xffff'8000'0123'4560);
    write(Field::guest_idtr_base, 0xffff'8000'0765'4320);
    guest.run_to_end();
    expect_equal(gdt.limit, 0x4567U, "GDTR limit in L2");
    expect_equal(gdt.base, 0xffff'8000'0123'4560U, "GDTR base in L2");
    expect_equal(idt.limit, 0x89abU, "IDTR limit in L2");
    expect_equal(idt.base, 0xffff'8000'0765'4320U, "IDTR base in L2");
    expect_equal(read(Field::guest_gdtr_limit), new_gdt.limit, "guest GDTR limit");
    expect_equal(read(Field::guest_gdtr_base), new_gdt.base, "guest GDTR base");
    expect_equal(read(Field::guest_idtr_limit), new_idt.limit, "guest IDTR limit");
    expect_equal(read(Field::guest_idtr_base), new_idt.base, "guest IDTR base");
}

// What L2 loads by itself.
namespace {

constexpr std::uint16_t free_selector = 0x48;

// Attributes as in the access rights.
std::uint64_t descriptor(std::uint32_t base, std::uint32_t limit_field, std::uint32_t access) {
    return (limit_field & 0xffffU) | std::uint64_t{base & 0xff'ffffU} << 16 |
           std::uint64_t{access & 0xffU} << 40 | std::uint64_t{limit_field >> 16 & 0xfU} << 48 |
           std::uint64_t{access >> 12 & 0xfU} << 52 | std::uint64_t{base >> 24} << 56;
}

L2_CODE(l2_vs_load_es, 64, "movw %ax, %es; vmcall");
L2_CODE(l2_vs_load_ss, 64, "movw %ax, %ss; nop; vmcall");
L2_CODE(l2_vs_load_ds, 64, "movw %ax, %ds; vmcall");
L2_CODE(l2_vs_load_fs, 64, "movw %ax, %fs; vmcall");
L2_CODE(l2_vs_load_gs, 64, "movw %ax, %gs; vmcall");
L2_CODE(l2_vs_load_ldt, 64, "lldt %ax; vmcall");
L2_CODE(l2_vs_load_tr, 64, "ltr %ax; vmcall");
L2_CODE(l2_vs_load_cs, 64, "pushq %rax; leaq 1f(%rip), %rcx; pushq %rcx; lretq; 1: vmcall");

void loaded(const Segment& segment, const char* code, std::uint64_t word, std::uint64_t word2,
            const Values& expected) {
    L2 guest;
    auto* const gdt = reinterpret_cast<std::uint64_t*>(guest.context().gdt);
    gdt[free_selector / 8] = word;
    gdt[free_selector / 8 + 1] = word2;
    start_code(guest, code);
    guest.registers.rax = expected.selector;
    if (guest.run_to(ExitReason::vmcall, "VMCALL"))
        expect_values(segment, expected, "after L2 loaded it");
}

} // namespace

#define LOADED(name, code, word, word2, ...)                                                                 \
    VMX_TEST(switch_loaded_##name, "vmx.switch.loaded_" #name,                                               \
             "A descriptor that L2 loads into " #name " is in the guest state", SAVING) {                    \
        loaded(name, code, word, word2, __VA_ARGS__);                                                        \
    }
LOADED(es, l2_vs_load_es, descriptor(0x1234'5678, 0x789ab, 0x4093), 0, {0x48, 0x789ab, 0x4093, 0x1234'5678})
LOADED(cs, l2_vs_load_cs, descriptor(0, 0xfffff, 0xa09b), 0, {0x48, 0xffff'ffff, 0xa09b, 0})
LOADED(ss, l2_vs_load_ss, descriptor(0x1111'1000, 0xfffff, 0xc093), 0,
       {0x48, 0xffff'ffff, 0xc093, 0x1111'1000})
LOADED(ds, l2_vs_load_ds, descriptor(0x8765'4321, 0x12345, 0xc091), 0,
       {0x48, 0x1234'5fff, 0xc091, 0x8765'4321})
LOADED(fs, l2_vs_load_fs, descriptor(0x7654'3210, 0xfff, 0x50f3), 0, {0x4b, 0xfff, 0x50f3, 0x7654'3210})
LOADED(gs, l2_vs_load_gs, descriptor(0x0abc'def0, 0, 0x4093), 0, {0x48, 0, 0x4093, 0x0abc'def0})
LOADED(ldtr, l2_vs_load_ldt, descriptor(0x1234'5678, 0x97, 0x82), 0xffff'8000,
       {0x48, 0x97, 0x82, 0xffff'8000'1234'5678})
LOADED(tr, l2_vs_load_tr, descriptor(0x2345'6789, 0x77, 0x89), 0xffff'9000,
       {0x48, 0x77, 0x8b, 0xffff'9000'2345'6789})

VMX_TEST(switch_loaded_null, "vmx.switch.loaded_null",
         "A null selector that L2 loads makes the segment unusable in the guest state", SAVING) {
    const Segment* const segments[]{&es, &ds, &fs, &ldtr};
    const char* const code[]{l2_vs_load_es, l2_vs_load_ds, l2_vs_load_fs, l2_vs_load_ldt};
    for (unsigned i = 0; i < 4; ++i) {
        L2 guest;
        start_code(guest, code[i]);
        guest.registers.rax = 0;
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        expect_equal(read(segments[i]->selector), 0U, Text{segments[i]->name, " selector"});
        expect_equal(read(segments[i]->access) & unusable, unusable, Text{segments[i]->name, " unusable"});
    }
}

// In compatibility mode bases, limits and types are in force.
namespace {

#define COMPATIBILITY(name, prefix)                                                                          \
    L2_CODE(l2_vs_read_##name, 32, "movl %" prefix ":(%esi), %eax; vmcall");                                 \
    L2_CODE(l2_vs_write_##name, 32, "movl %eax, %" prefix ":(%esi); vmcall");
COMPATIBILITY(es, "es")
COMPATIBILITY(ss, "ss")
COMPATIBILITY(ds, "ds")
COMPATIBILITY(fs, "fs")
COMPATIBILITY(gs, "gs")

enum class Outcome32 { works, faults };

void access(L2& guest, const char* code, std::uint64_t offset, Outcome32 outcome, std::uint8_t vector,
            std::uint64_t value, const char* what) {
    write(Field::guest_rip, address_of(code));
    guest.registers.rsi = offset;
    guest.registers.rax = 0x5555'5555;
    if (outcome == Outcome32::works) {
        if (guest.run_to(ExitReason::vmcall, what) && value != 0)
            expect_equal(guest.registers.rax & 0xffff'ffff, value, Text{what, ": what L2 has read"});
    } else if (guest.run_to(ExitReason::exception_or_nmi, what)) {
        expect_equal(read(Field::exit_interruption_information) & 0xff, vector, Text{what, ": vector"});
        expect_equal(read(Field::exit_interruption_error_code), 0U, Text{what, ": error code"});
    }
}

void in_force(const Segment& segment, const char* reads, const char* writes, std::uint8_t vector) {
    L2 guest;
    auto* const page = static_cast<std::uint32_t*>(conform::allocate_pages(2));
    page[0x40] = 0x1234'abcd;
    set_compatibility_mode(guest, address_of(reads), code_stack(guest));
    write(Field::exception_bitmap, 1U << 12 | 1U << 13);
    const auto base = conform::physical(page);
    write(segment.base, base);
    write(segment.limit, 0x103);
    write(segment.access, 0x4093);
    access(guest, reads, 0x100, Outcome32::works, 0, 0x1234'abcd, "read at the limit");
    access(guest, reads, 0x101, Outcome32::faults, vector, 0, "read beyond the limit");
    access(guest, writes, 0x100, Outcome32::works, 0, 0, "write at the limit");
    expect_equal(page[0x40], 0x5555'5555U, "what L2 has written");
    // Other values at a resume.
    write(segment.base, base + 0x80);
    write(segment.limit, 0x83);
    access(guest, reads, 0x80, Outcome32::works, 0, 0x5555'5555, "read at the new limit");
    access(guest, reads, 0x81, Outcome32::faults, vector, 0, "read beyond the new limit");
    // Expand-down: what is above the limit.
    write(segment.access, 0x4097);
    access(guest, reads, 0x80, Outcome32::faults, vector, 0,
           "read below the limit of an expand-down segment");
    access(guest, reads, 0x84, Outcome32::works, 0, 0, "read above it");
    if (&segment == &ss)
        return;
    write(segment.access, 0x4091);
    access(guest, writes, 0x80, Outcome32::faults, vector, 0, "write of a read-only segment");
    write(segment.access, unusable);
    access(guest, reads, 0x10, Outcome32::faults, vector, 0, "read of an unusable segment");
}

} // namespace

#define IN_FORCE(name, vector)                                                                               \
    VMX_TEST(switch_in_force_##name, "vmx.switch.segment_in_force_" #name,                                   \
             "Base, limit and type of " #name " are in force in compatibility mode", LOADING) {              \
        in_force(name, l2_vs_read_##name, l2_vs_write_##name, vector);                                       \
    }
IN_FORCE(es, 13)
IN_FORCE(ss, 12)
IN_FORCE(ds, 13)
IN_FORCE(fs, 13)
IN_FORCE(gs, 13)

VMX_TEST(switch_ldt_in_force, "vmx.switch.ldtr_in_force", "Base and limit of LDTR are in force in L2",
         LOADING) {
    L2 guest;
    auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    table[3] = descriptor(0x0abc'0000, 0x10, 0x4093);
    start_code(guest, l2_vs_load_es);
    write(Field::guest_ldtr_selector, 0x48);
    write(Field::guest_ldtr_access_rights, 0x82);
    write(Field::guest_ldtr_base, conform::physical(table));
    write(Field::guest_ldtr_limit, 3 * 8 + 7);
    guest.registers.rax = 3 * 8 | 4;
    if (guest.run_to(ExitReason::vmcall, "VMCALL"))
        expect_values(es, {0x1c, 0x10, 0x4093, 0x0abc'0000}, "from the LDT");
    write(Field::guest_ldtr_limit, 3 * 8 + 6);
    write(Field::guest_rip, address_of(l2_vs_load_es));
    guest.registers.rax = 3 * 8 | 4;
    guest.intercept_exception(13);
    if (guest.run_to(ExitReason::exception_or_nmi, "#GP beyond the limit"))
        expect_equal(read(Field::exit_interruption_error_code), 0x1cU, "error code");
}

VMX_TEST(switch_tr_in_force, "vmx.switch.tr_in_force",
         "The base of TR is in force in L2: RSP0 comes from its TSS", LOADING) {
    L2 guest;
    auto* const tss = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    const auto stack = conform::physical(conform::allocate_pages(2)) + 8192;
    *reinterpret_cast<std::uint64_t*>(tss + 4) = stack;
    std::uint64_t done = 0;
    auto code = [&] { done = 1; };
    guest.start(code);
    begin_in_ring_3(guest);
    write(Field::guest_tr_base, conform::physical(tss));
    std::uint64_t seen = 0;
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        conform::l2_context().value[0] = reinterpret_cast<std::uint64_t>(&frame);
        return true;
    };
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    guest.run_to_end();
    seen = guest.context().value[0];
    expect_equal(seen, stack - sizeof(guest::ExceptionFrame), "the frame's place, at the top of RSP0");
    expect_equal(done, 1U, "L2's code has run");
}

} // namespace nestbed::vmx
