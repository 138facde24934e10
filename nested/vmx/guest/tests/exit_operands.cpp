// Operands of instructions that leave L2: the displacement in the exit qualification, the rest in the
// instruction-information field, for each form of address (SDM volume 3, "Information for VM Exits Due to
// Instruction Execution").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

namespace {

enum : unsigned { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
enum : unsigned { es, cs, ss, ds, fs, gs };
constexpr unsigned none = 16;
constexpr std::uint64_t all = ~std::uint64_t{0};

// Bits 9:7 address size, 10 register, 17:15 segment, 21:18 index, 22 none, 26:23 base, 27 none; without an
// index neither it nor the scale is defined.
constexpr Information memory(unsigned base, unsigned index = none, unsigned scale = 0, unsigned segment = ds,
                             unsigned address_size = 2) {
    auto information = Information{}
                           .and_field(7, 3, address_size)
                           .and_field(10, 1, 0)
                           .and_field(15, 3, segment)
                           .and_field(22, 1, index == none ? 1 : 0)
                           .and_field(27, 1, base == none ? 1 : 0);
    if (base != none)
        information = information.and_field(23, 4, base);
    if (index != none)
        information = information.and_field(18, 4, index).and_field(0, 2, scale);
    return information;
}
constexpr Information register_operand(unsigned number) {
    return Information{}.and_field(10, 1, 1).and_field(3, 4, number);
}
constexpr Information with_second(Information first, unsigned number) {
    return first.and_field(28, 4, number);
}
// Of LGDT and its kin, and of LLDT and its kin.
constexpr Information with_identity(Information first, unsigned identity) {
    return first.and_field(28, 2, identity);
}

// No sum of them is an address that would fault by itself.
void use_canonical_addresses(L2& guest) {
    for (unsigned i = 0; i < 15; ++i)
        (&guest.registers.rax)[i] = 0x40'0000 + 0x1000 * i;
}

void run(const Snippet& snippet, const Operand& operand, std::uint32_t secondary) {
    if (!allowed_secondary().may_set(secondary))
        return conform::not_applicable("KVM does not offer the control");
    L2 guest;
    place(guest, snippet);
    use_canonical_addresses(guest);
    set(Field::secondary_controls, secondary);
    expect_operand(guest, snippet, operand);
}

} // namespace

// NOLINTBEGIN
#define OPERAND_OF(identifier, text, control, ...)                                                           \
    L2_SNIPPET(operand_##identifier, text);                                                                  \
    VMX_TEST(exit_operand_##identifier, "vmx.exit.operand_" #identifier,                                     \
             "The operands of " text " are in qualification and information",                                \
             "Information for VM Exits Due to Instruction Execution") {                                      \
        run(operand_##identifier, Operand{__VA_ARGS__}, control);                                            \
    }
#define OPERAND(identifier, text, ...) OPERAND_OF(identifier, text, 0, __VA_ARGS__)
// NOLINTEND

// Each part of an address, with an instruction that always leaves.
OPERAND(base_rax, "vmclear (%rax)", ExitReason::vmclear, 0, all, memory(rax))
OPERAND(base_rbp, "vmclear 0(%rbp)", ExitReason::vmclear, 0, all, memory(rbp, none, 0, ss))
OPERAND(base_rsp, "vmclear 16(%rsp)", ExitReason::vmclear, 16, all, memory(rsp, none, 0, ss))
OPERAND(base_r8, "vmclear (%r8)", ExitReason::vmclear, 0, all, memory(r8))
OPERAND(base_r12, "vmclear (%r12)", ExitReason::vmclear, 0, all, memory(r12))
OPERAND(base_r13, "vmclear 0(%r13)", ExitReason::vmclear, 0, all, memory(r13))
OPERAND(base_r15, "vmclear (%r15)", ExitReason::vmclear, 0, all, memory(r15))
OPERAND(index_1, "vmclear (%rax,%rcx,1)", ExitReason::vmclear, 0, all, memory(rax, rcx, 0))
OPERAND(index_2, "vmclear (%rax,%rcx,2)", ExitReason::vmclear, 0, all, memory(rax, rcx, 1))
OPERAND(index_4, "vmclear (%rax,%rcx,4)", ExitReason::vmclear, 0, all, memory(rax, rcx, 2))
OPERAND(index_8, "vmclear (%rax,%rcx,8)", ExitReason::vmclear, 0, all, memory(rax, rcx, 3))
OPERAND(index_r9, "vmclear (%rdx,%r9,2)", ExitReason::vmclear, 0, all, memory(rdx, r9, 1))
OPERAND(index_r12, "vmclear (%r10,%r12,4)", ExitReason::vmclear, 0, all, memory(r10, r12, 2))
OPERAND(index_rbp, "vmclear (%rbx,%rbp,8)", ExitReason::vmclear, 0, all, memory(rbx, rbp, 3))
OPERAND(no_base, "vmclear 0x1000(,%rsi,8)", ExitReason::vmclear, 0x1000, all, memory(none, rsi, 3))
OPERAND(absolute, "vmclear 0x12345678", ExitReason::vmclear, 0x1234'5678, all, memory(none))
OPERAND(absolute_negative, "vmclear -4096", ExitReason::vmclear, static_cast<std::uint64_t>(-4096), all,
        memory(none))
OPERAND(displacement_8, "vmclear 0x7f(%rdi)", ExitReason::vmclear, 0x7f, all, memory(rdi))
OPERAND(displacement_minus_8, "vmclear -8(%rdi)", ExitReason::vmclear, static_cast<std::uint64_t>(-8), all,
        memory(rdi))
OPERAND(displacement_32, "vmclear 0x12345678(%r11,%r14,8)", ExitReason::vmclear, 0x1234'5678, all,
        memory(r11, r14, 3))
OPERAND(displacement_minus_32, "vmclear -0x12345678(%r11)", ExitReason::vmclear,
        static_cast<std::uint64_t>(-0x1234'5678), all, memory(r11))
OPERAND(segment_fs, "vmclear %fs:(%rax)", ExitReason::vmclear, 0, all, memory(rax, none, 0, fs))
OPERAND(segment_gs, "vmclear %gs:8(%rbx,%rcx,2)", ExitReason::vmclear, 8, all, memory(rbx, rcx, 1, gs))
// Beyond the address size the qualification is not defined.
OPERAND(address_32, "addr32 vmclear (%eax)", ExitReason::vmclear, 0, 0xffff'ffff, memory(rax, none, 0, ds, 1))
OPERAND(address_32_index, "vmclear 0x40(%ebx,%r9d,4)", ExitReason::vmclear, 0x40, 0xffff'ffff,
        memory(rbx, r9, 2, ds, 1))
OPERAND(address_32_negative, "vmclear -4(%ecx)", ExitReason::vmclear, 0xffff'fffc, 0xffff'ffff,
        memory(rcx, none, 0, ds, 1))

// RIP-relative: the qualification is the sum.
L2_SNIPPET(operand_rip, "vmclear 0x1000(%rip)");
VMX_TEST(exit_operand_rip_relative, "vmx.exit.operand_rip_relative",
         "A RIP-relative operand is in the qualification with RIP added", "Basic VM-Exit Information") {
    L2 guest;
    place(guest, operand_rip);
    use_canonical_addresses(guest);
    expect_operand(guest, operand_rip,
                   {ExitReason::vmclear, operand_rip.end() + 0x1000, all,
                    Information{}.and_field(7, 3, 2).and_field(15, 3, ds)});
}

// The other instructions.
OPERAND(vmptrld, "vmptrld 0x18(%rsi,%r8,4)", ExitReason::vmptrld, 0x18, all, memory(rsi, r8, 2))
OPERAND(vmptrst, "vmptrst %fs:-16(%r9)", ExitReason::vmptrst, static_cast<std::uint64_t>(-16), all,
        memory(r9, none, 0, fs))
OPERAND(vmxon, "vmxon 0x20(%r14,%rdx,8)", ExitReason::vmxon, 0x20, all, memory(r14, rdx, 3))
OPERAND(vmread_memory, "vmread %r10, 0x30(%rax,%rbx,2)", ExitReason::vmread, 0x30, all,
        with_second(memory(rax, rbx, 1), r10))
OPERAND(vmread_register, "vmread %rsi, %r13", ExitReason::vmread, 0, 0,
        with_second(register_operand(r13), rsi))
OPERAND(vmread_rsp, "vmread %rsp, %rcx", ExitReason::vmread, 0, 0, with_second(register_operand(rcx), rsp))
OPERAND(vmwrite_memory, "vmwrite -0x30(%r15), %rdi", ExitReason::vmwrite, static_cast<std::uint64_t>(-0x30),
        all, with_second(memory(r15), rdi))
OPERAND(vmwrite_register, "vmwrite %r8, %rdx", ExitReason::vmwrite, 0, 0,
        with_second(register_operand(r8), rdx))
OPERAND(invept, "invept 0x40(%rcx,%rdx,4), %r9", ExitReason::invept, 0x40, all,
        with_second(memory(rcx, rdx, 2), r9))
OPERAND(invvpid, "invvpid %gs:(%r11), %rax", ExitReason::invvpid, 0, all,
        with_second(memory(r11, none, 0, gs), rax))

using secondary::descriptor_table_exiting;
OPERAND_OF(sgdt, "sgdt 0x50(%rbx)", descriptor_table_exiting, ExitReason::gdtr_or_idtr_access, 0x50, all,
           with_identity(memory(rbx), 0))
OPERAND_OF(sidt, "sidt (%r9,%r10,8)", descriptor_table_exiting, ExitReason::gdtr_or_idtr_access, 0, all,
           with_identity(memory(r9, r10, 3), 1))
OPERAND_OF(lgdt, "lgdt -0x20(%rsi)", descriptor_table_exiting, ExitReason::gdtr_or_idtr_access,
           static_cast<std::uint64_t>(-0x20), all, with_identity(memory(rsi), 2))
OPERAND_OF(lidt, "lidt %fs:8(%rdi)", descriptor_table_exiting, ExitReason::gdtr_or_idtr_access, 8, all,
           with_identity(memory(rdi, none, 0, fs), 3))
OPERAND_OF(sldt_memory, "sldt 0x60(%rcx)", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0x60, all,
           with_identity(memory(rcx), 0))
OPERAND_OF(sldt_register, "sldt %r11d", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0, 0,
           with_identity(register_operand(r11), 0))
OPERAND_OF(str_memory, "str (%rax,%rdi,2)", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0, all,
           with_identity(memory(rax, rdi, 1), 1))
OPERAND_OF(str_register, "str %dx", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0, 0,
           with_identity(register_operand(rdx), 1))
OPERAND_OF(lldt_register, "lldt %r14w", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0, 0,
           with_identity(register_operand(r14), 2))
OPERAND_OF(ltr_register, "ltr %bp", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 0, 0,
           with_identity(register_operand(rbp), 3))
OPERAND_OF(lldt_memory, "lldt 2(%rbx)", descriptor_table_exiting, ExitReason::ldtr_or_tr_access, 2, all,
           with_identity(memory(rbx), 2))

// Destination in bits 6:3, its size in 12:11.
constexpr Information destination(unsigned number, unsigned size) {
    return Information{}.and_field(3, 4, number).and_field(11, 2, size);
}
using secondary::rdrand_exiting;
using secondary::rdseed_exiting;
OPERAND_OF(rdrand_16, "rdrand %cx", rdrand_exiting, ExitReason::rdrand, 0, all, destination(rcx, 0))
OPERAND_OF(rdrand_32, "rdrand %r9d", rdrand_exiting, ExitReason::rdrand, 0, all, destination(r9, 1))
OPERAND_OF(rdrand_64, "rdrand %r15", rdrand_exiting, ExitReason::rdrand, 0, all, destination(r15, 2))
OPERAND_OF(rdseed_16, "rdseed %bx", rdseed_exiting, ExitReason::rdseed, 0, all, destination(rbx, 0))
OPERAND_OF(rdseed_32, "rdseed %eax", rdseed_exiting, ExitReason::rdseed, 0, all, destination(rax, 1))
OPERAND_OF(rdseed_64, "rdseed %r8", rdseed_exiting, ExitReason::rdseed, 0, all, destination(r8, 2))

L2_SNIPPET(operand_invpcid, "invpcid 0x10(%rax,%rsi,4), %r10");
VMX_TEST(exit_operand_invpcid, "vmx.exit.operand_invpcid",
         "INVPCID leaves L2 with INVLPG exiting, and its operands are in qualification and information",
         "Information for VM Exits Due to Instruction Execution") {
    if (!allowed_secondary().may_set(secondary::enable_invpcid) || (guest::cpuid(7, 0).ebx >> 10 & 1) == 0)
        return conform::not_applicable("no INVPCID");
    L2 guest;
    place(guest, operand_invpcid);
    use_canonical_addresses(guest);
    set(Field::secondary_controls, secondary::enable_invpcid);
    set(Field::primary_controls, primary::invlpg_exiting);
    expect_operand(guest, operand_invpcid,
                   {ExitReason::invpcid, 0x10, all, with_second(memory(rax, rsi, 2), r10)});
}

// In 32-bit mode: 16-bit addresses, and the operand size of LGDT and its kin in bit 11.
namespace {
L2_SNIPPET_32(operand_32_base, "vmclear 0x11223344(%ecx,%ebx,8)");
L2_SNIPPET_32(operand_16_base, "addr16 vmclear 0x10(%bx,%si)");
L2_SNIPPET_32(operand_es, "vmclear %es:(%eax)");
L2_SNIPPET_32(operand_cs, "vmclear %cs:(%edx)");
L2_SNIPPET_32(operand_lgdt_16, "data16 lgdt (%eax)");
L2_SNIPPET_32(operand_lgdt_32, "lgdt (%eax)");
void run_32(const Snippet& snippet, const Operand& operand, std::uint32_t secondary = 0) {
    if (!allowed_secondary().may_set(secondary))
        return conform::not_applicable("KVM does not offer the control");
    L2 guest;
    place_32(guest, snippet);
    use_canonical_addresses(guest);
    set(Field::secondary_controls, secondary);
    expect_operand(guest, snippet, operand);
}
} // namespace
// NOLINTBEGIN
#define OPERAND_32(identifier, title, ...)                                                                   \
    VMX_TEST(exit_operand_32_##identifier, "vmx.exit.operand_32_" #identifier, title,                        \
             "Information for VM Exits Due to Instruction Execution") {                                      \
        run_32(__VA_ARGS__);                                                                                 \
    }
// NOLINTEND
OPERAND_32(base, "In 32-bit mode addresses are of 32 bits", operand_32_base,
           {ExitReason::vmclear, 0x1122'3344, 0xffff'ffff, memory(rcx, rbx, 3, ds, 1)})
OPERAND_32(address_16, "An address of 16 bits has its base and index", operand_16_base,
           {ExitReason::vmclear, 0x10, 0xffff, memory(rbx, rsi, 0, ds, 0)})
OPERAND_32(es, "The ES prefix is in the instruction information", operand_es,
           {ExitReason::vmclear, 0, 0xffff'ffff, memory(rax, none, 0, es, 1)})
OPERAND_32(cs, "The CS prefix is in the instruction information", operand_cs,
           {ExitReason::vmclear, 0, 0xffff'ffff, memory(rdx, none, 0, cs, 1)})
OPERAND_32(lgdt_16, "LGDT with an operand size of 16 bits has bit 11 clear", operand_lgdt_16,
           {ExitReason::gdtr_or_idtr_access, 0, 0xffff'ffff,
            with_identity(memory(rax, none, 0, ds, 1), 2).and_field(11, 1, 0)},
           descriptor_table_exiting)
OPERAND_32(lgdt_32, "LGDT with an operand size of 32 bits has bit 11 set", operand_lgdt_32,
           {ExitReason::gdtr_or_idtr_access, 0, 0xffff'ffff,
            with_identity(memory(rax, none, 0, ds, 1), 2).and_field(11, 1, 1)},
           descriptor_table_exiting)

} // namespace nestbed::vmx
