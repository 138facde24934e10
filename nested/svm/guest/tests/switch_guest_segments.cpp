// CS, SS, DS and ES with their hidden parts (APM volume 2, 15.5.1): in, felt by L2, and out.
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_segments_selectors, 64,
        "xorl %ebx, %ebx; xorl %ecx, %ecx; xorl %edx, %edx; xorl %esi, %esi\n"
        "movw %cs, %bx; movw %ss, %cx; movw %ds, %dx; movw %es, %si; vmmcall");
L2_CODE(l2_segments_32_exit, 32, "vmmcall");
L2_CODE(l2_segments_32_ds, 32, "movl 4, %ebx; vmmcall");
L2_CODE(l2_segments_32_es, 32, "movl %es:4, %ebx; vmmcall");
L2_CODE(l2_segments_32_ss, 32, "movl %ss:4, %ebx; vmmcall");
L2_CODE(l2_segments_32_cs, 32, "movl %cs:4, %ebx; vmmcall");
L2_CODE(l2_segments_32_push, 32, "pushl $0x5a5a; vmmcall");
L2_CODE(l2_segments_32_edge, 32, "movl (%esi), %ebx; vmmcall");
L2_CODE(l2_segments_32_write, 32, "movl %eax, 4; vmmcall");
L2_CODE(l2_segments_16_operand, 16, "movw $0x1234, %ax; vmmcall");

namespace {

enum class Which { es, cs, ss, ds };
Segment& segment_of(SaveArea& save, Which which) {
    switch (which) {
    case Which::es:
        return save.es;
    case Which::cs:
        return save.cs;
    case Which::ss:
        return save.ss;
    default:
        return save.ds;
    }
}

void expect_segment(const Segment& seen, const Segment& expected, const char* name) {
    expect_equal(seen.selector, expected.selector, Text{"VMCB.", name, ".selector"});
    expect_equal(seen.attributes & attributes_mask, expected.attributes & attributes_mask,
                 Text{"VMCB.", name, ".attributes without G"});
    expect_equal(seen.limit, expected.limit, Text{"VMCB.", name, ".limit"});
    expect_equal(seen.base, expected.base, Text{"VMCB.", name, ".base"});
}

// In protected mode, of a segment that L2 does not use.
template<Which Register, std::uint16_t Attributes, std::uint32_t Limit, std::uint32_t Base>
void segment_kept() {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_segments_32_exit), fresh_stack());
    auto& segment = segment_of(guest.save(), Register);
    const Segment value{0x50, Attributes, Limit, Base};
    segment = value;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_segment(segment, value, "segment");
}

constexpr std::uint32_t canary = 0x5e67'0001;

template<Which Register>
void base_felt(const char* code) {
    L2 guest;
    auto* const page = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    page[1] = canary;
    set_protected_mode(guest.save(), address_of(code), fresh_stack());
    auto& segment = segment_of(guest.save(), Register);
    segment.base = conform::physical(page);
    if (Register == Which::cs) {
        segment.base = conform::physical(page);
        guest.save().rip = static_cast<std::uint32_t>(address_of(code) - segment.base); // wraps at 4 GiB
    }
    const auto value = segment;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, canary, "what L2 read at the segment's base");
    expect_segment(segment, value, "segment");
}

} // namespace

SVM_TEST(switch_guest_ds_base, "svm.switch.guest_ds_base", "L2's data accesses are relative to VMCB.DS.base",
         "15.5.1") {
    base_felt<Which::ds>(l2_segments_32_ds);
}
SVM_TEST(switch_guest_es_base, "svm.switch.guest_es_base", "L2's accesses through ES begin at VMCB.ES.base",
         "15.5.1") {
    base_felt<Which::es>(l2_segments_32_es);
}
SVM_TEST(switch_guest_ss_base, "svm.switch.guest_ss_base", "L2's accesses through SS begin at VMCB.SS.base",
         "15.5.1") {
    base_felt<Which::ss>(l2_segments_32_ss);
}
SVM_TEST(switch_guest_cs_base, "svm.switch.guest_cs_base",
         "L2 fetches, and reads through CS, relative to VMCB.CS.base", "15.5.1") {
    base_felt<Which::cs>(l2_segments_32_cs);
}
SVM_TEST(switch_guest_ss_push, "svm.switch.guest_ss_push", "L2's PUSH goes to VMCB.SS.base plus ESP",
         "15.5.1") {
    L2 guest;
    auto* const page = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    set_protected_mode(guest.save(), address_of(l2_segments_32_push), 0x100);
    guest.save().ss.base = conform::physical(page);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(page[0x40 - 1], 0x5a5aU, "what L2 pushed");
    expect_equal(guest.save().rsp, 0xfcU, "VMCB.RSP");
}
SVM_TEST(switch_guest_cs_d_clear, "svm.switch.guest_cs_d_clear",
         "VMCB.CS with D=0 makes L2 run 16-bit code in protected mode", "15.5.1") {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_segments_16_operand), fresh_stack());
    guest.save().cs.attributes = 0x89b;
    guest.save().rax = 0xffff'0000;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rax, 0xffff'1234U, "VMCB.RAX after a 16-bit MOV");
    expect_equal(guest.save().rip, address_of(l2_segments_16_operand) + 3, "VMCB.RIP");
}

namespace {
void limit_case(Which which, bool beyond) {
    L2 guest;
    guest.intercept_exception(12);
    guest.intercept_exception(13);
    set_protected_mode(guest.save(), address_of(l2_segments_32_edge), fresh_stack());
    guest.save().ds.base = conform::physical(conform::allocate_pages(1));
    guest.save().ds.limit = 0xfff;
    guest.save().ds.attributes = 0x493;
    guest.registers.rsi = beyond ? 0xffd : 0xffc;
    if (!beyond) {
        guest.run_to(ExitCode::vmmcall, "the last four bytes of the segment may be read");
        return;
    }
    guest.run_to(exception_exit(which == Which::ss ? 12 : 13), "a read beyond the limit");
    expect_equal(guest.control().exit_info_1, 0U, "error code in EXITINFO1");
}
} // namespace
SVM_TEST(switch_guest_ds_limit, "svm.switch.guest_ds_limit_inside",
         "VMCB.DS.limit lets the last bytes through", "15.5.1") {
    limit_case(Which::ds, false);
}
SVM_TEST(switch_guest_ds_beyond, "svm.switch.guest_ds_limit_beyond", "VMCB.DS.limit is kept: #GP beyond it",
         "15.5.1") {
    limit_case(Which::ds, true);
}
SVM_TEST(switch_guest_ds_read_only, "svm.switch.guest_ds_read_only",
         "VMCB.DS of a read-only type: #GP of a write", "15.5.1") {
    L2 guest;
    guest.intercept_exception(13);
    auto* const page = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    set_protected_mode(guest.save(), address_of(l2_segments_32_write), fresh_stack());
    guest.save().ds.base = conform::physical(page);
    guest.save().ds.attributes = 0xc91;
    guest.save().rax = 1;
    guest.run_to(exception_exit(13), "#GP of the write");
    expect_equal(page[1], 0U, "what is in memory");
}

// Attributes go in and out as they are, where they are those of a descriptor.
#define KEPT_CASE(name, which, attributes, limit, base)                                                      \
    SVM_CASE(switch_guest_kept_##name, "svm.switch.guest_segment_" #name,                                    \
             "Selector, attributes, limit and base go in and out", "15.5.1",                                 \
             (&segment_kept<which, attributes, limit, base>))
KEPT_CASE(ds_data, Which::ds, 0xc93, 0xffff'ffff, 0x1234'5678)
KEPT_CASE(ds_read_only, Which::ds, 0xc91, 0xffff'ffff, 0x1234'5678)
KEPT_CASE(ds_expand_down, Which::ds, 0xc97, 0x0000'0fff, 0)
KEPT_CASE(ds_dpl_3, Which::ds, 0xcf3, 0xffff'ffff, 0x4000)
KEPT_CASE(ds_code, Which::ds, 0xc9b, 0xffff'ffff, 0x4000)
KEPT_CASE(ds_bytes, Which::ds, 0x493, 0x0000'4321, 0x8765'0000)
KEPT_CASE(ds_16_bit, Which::ds, 0x093, 0x0000'ffff, 0x0008'0000)
KEPT_CASE(es_data, Which::es, 0xc93, 0xffff'ffff, 0x2345'6789)
KEPT_CASE(es_read_only, Which::es, 0xc91, 0xffff'ffff, 0x1234'5678)
KEPT_CASE(es_bytes, Which::es, 0x493, 0x0000'1234, 0xffff'0000)
KEPT_CASE(es_dpl_3, Which::es, 0xcf3, 0xffff'ffff, 0x7000)
KEPT_CASE(ss_data, Which::ss, 0xc93, 0xffff'ffff, 0x3456'7890)
KEPT_CASE(ss_bytes, Which::ss, 0x493, 0x0000'8fff, 0x0050'0000)
KEPT_CASE(ss_expand_down, Which::ss, 0xc97, 0x0000'0fff, 0)
KEPT_CASE(ss_16_bit, Which::ss, 0x093, 0x0000'ffff, 0x0009'0000)
KEPT_CASE(cs_conforming, Which::cs, 0xc9f, 0xffff'ffff, 0)
KEPT_CASE(cs_execute_only, Which::cs, 0xc99, 0xffff'ffff, 0)
#undef KEPT_CASE

namespace {
template<Which Register>
void null_kept(const char* name) {
    L2 guest;
    start_blob(guest, l2_segments_selectors);
    segment_of(guest.save(), Register) = {};
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(segment_of(guest.save(), Register).selector, 0U, Text{"VMCB.", name, ".selector"});
    expect_equal(segment_of(guest.save(), Register).attributes & 0x80, 0U, Text{"P of VMCB.", name});
}
} // namespace
SVM_TEST(switch_guest_null_ds, "svm.switch.guest_segment_ds_null", "A null DS goes in and comes out with P=0",
         "15.5.1") {
    null_kept<Which::ds>("DS");
}
SVM_TEST(switch_guest_null_es, "svm.switch.guest_segment_es_null", "A null ES goes in and comes out with P=0",
         "15.5.1") {
    null_kept<Which::es>("ES");
}
SVM_TEST(switch_guest_null_ss, "svm.switch.guest_segment_ss_null",
         "A null SS, legal in 64-bit ring 0, goes in and out", "15.5.1") {
    null_kept<Which::ss>("SS");
}

SVM_TEST(switch_guest_selectors, "svm.switch.guest_selectors",
         "Four selectors as L2 sees them, and L1's own after", "15.5.1") {
    std::uint16_t mine[4];
    std::uint16_t after[4];
    asm volatile("movw %%cs, %0; movw %%ss, %1; movw %%ds, %2; movw %%es, %3"
                 : "=r"(mine[0]), "=r"(mine[1]), "=r"(mine[2]), "=r"(mine[3]));
    L2 guest;
    start_blob(guest, l2_segments_selectors);
    guest.save().cs.selector = 0x48;
    guest.save().ss.selector = 0x50;
    guest.save().ds.selector = 0x58;
    guest.save().es.selector = 0x63;
    guest.save().es.attributes = 0xcf3;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    asm volatile("movw %%cs, %0; movw %%ss, %1; movw %%ds, %2; movw %%es, %3"
                 : "=r"(after[0]), "=r"(after[1]), "=r"(after[2]), "=r"(after[3]));
    expect_equal(guest.registers.rbx, 0x48U, "CS as L2 sees it");
    expect_equal(guest.registers.rcx, 0x50U, "SS as L2 sees it");
    expect_equal(guest.registers.rdx, 0x58U, "DS as L2 sees it");
    expect_equal(guest.registers.rsi, 0x63U, "ES as L2 sees it");
    expect_equal(guest.save().cs.selector, 0x48U, "VMCB.CS.selector");
    expect_equal(guest.save().ss.selector, 0x50U, "VMCB.SS.selector");
    expect_equal(guest.save().ds.selector, 0x58U, "VMCB.DS.selector");
    expect_equal(guest.save().es.selector, 0x63U, "VMCB.ES.selector");
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(after[i], mine[i], Text{"L1's CS, SS, DS, ES: number ", i});
}

// Loaded by L2 from its own GDT.

L2_CODE(l2_segments_load_ds, 64, "movw %di, %ds; vmmcall");
L2_CODE(l2_segments_load_es, 64, "movw %di, %es; vmmcall");
L2_CODE(l2_segments_load_ss, 64, "movw %di, %ss; nop; vmmcall");
L2_CODE(l2_segments_load_cs, 64, "pushq %rdi; pushq $1f; lretq; 1: vmmcall");

namespace {

template<Which Register, std::uint16_t Attributes, std::uint32_t LimitField, std::uint32_t Base,
         std::uint16_t Rpl>
void loaded(const char* code) {
    L2 guest;
    const auto selector = static_cast<std::uint16_t>(free_selector | Rpl);
    set_descriptor(guest, selector, descriptor(Base, LimitField, Attributes));
    start_blob(guest, code, selector);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    const std::uint32_t limit = (Attributes & 0x800) != 0 ? LimitField << 12 | 0xfff : LimitField;
    // The processor sets the accessed bit (APM volume 2, 4.7.2).
    expect_segment(segment_of(guest.save(), Register),
                   {selector, static_cast<std::uint16_t>(Attributes | 1), limit, Base}, "loaded segment");
}

} // namespace
#define LOAD_CASE(name, which, code, attributes, limit, base, rpl)                                           \
    SVM_TEST(switch_guest_load_##name, "svm.switch.guest_load_" #name,                                       \
             "A segment register that L2 loads is in the VMCB after the exit with its hidden part",          \
             "15.6") {                                                                                       \
        loaded<which, attributes, limit, base, rpl>(code);                                                   \
    }
LOAD_CASE(ds_data, Which::ds, l2_segments_load_ds, 0xc93, 0xfffff, 0x1234'5678, 0)
LOAD_CASE(ds_bytes, Which::ds, l2_segments_load_ds, 0x493, 0x4321, 0x8765'4321, 0)
LOAD_CASE(ds_read_only, Which::ds, l2_segments_load_ds, 0xc90, 0x12345, 0x1000, 0)
LOAD_CASE(ds_expand_down, Which::ds, l2_segments_load_ds, 0xc96, 0x00fff, 0x2000, 0)
LOAD_CASE(ds_dpl_3, Which::ds, l2_segments_load_ds, 0xcf2, 0xfffff, 0, 3)
LOAD_CASE(ds_avl, Which::ds, l2_segments_load_ds, 0xd93, 0xfffff, 0, 0)
LOAD_CASE(es_data, Which::es, l2_segments_load_es, 0xc93, 0xfffff, 0x7654'3210, 0)
LOAD_CASE(es_code, Which::es, l2_segments_load_es, 0xa9a, 0xfffff, 0, 0)
LOAD_CASE(ss_data, Which::ss, l2_segments_load_ss, 0xc93, 0xfffff, 0, 0)
LOAD_CASE(cs_code, Which::cs, l2_segments_load_cs, 0xa9b, 0xfffff, 0, 0)
LOAD_CASE(cs_conforming, Which::cs, l2_segments_load_cs, 0xa9e, 0xfffff, 0, 0)
#undef LOAD_CASE

SVM_TEST(switch_guest_load_null, "svm.switch.guest_load_ds_null",
         "DS that L2 loads with null comes out with P=0", "15.6") {
    L2 guest;
    start_blob(guest, l2_segments_load_ds, 0);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().ds.selector, 0U, "VMCB.DS.selector");
    expect_equal(guest.save().ds.attributes & 0x80, 0U, "P of VMCB.DS");
}

} // namespace nestbed::svm
