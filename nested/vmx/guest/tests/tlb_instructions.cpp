// INVEPT and INVVPID as instructions: operands, failures, faults, and exits from L2 (SDM volume 3, "VMX
// Instruction Reference").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/snippet.hpp"
#include "nested/vmx/guest/window.hpp"
#include "nested/vmx/instruction_information.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint8_t invalid_opcode = 6;
constexpr std::uint8_t general_protection = 13;
constexpr std::uint8_t page_fault = 14;
constexpr std::uint64_t not_canonical = std::uint64_t{1} << 62;

using Instruction = Outcome (*)(std::uint64_t type, const Descriptor& descriptor);

bool offers_invept() {
    return (ept_vpid_capabilities() & ept_capability::invept) != 0;
}
bool offers_invvpid() {
    return (ept_vpid_capabilities() & ept_capability::invvpid) != 0;
}
bool offered(Instruction instruction) {
    if (instruction == &invept ? offers_invept() : offers_invvpid())
        return true;
    not_applicable("the instruction is not offered");
    return false;
}

// VMfailValid with error 28. The field is made to hold another error before.
void expect_invalid_operand(Instruction instruction, std::uint64_t type, const Descriptor& descriptor,
                            const Text& what) {
    expect_equal(vmwrite(0x2c, 0), Outcome::fail_valid, "a VMWRITE that fails");
    if (expect_equal(instruction(type, descriptor), Outcome::fail_valid, what))
        expect_equal(read(Field::instruction_error),
                     static_cast<std::uint32_t>(InstructionError::invalid_operand),
                     Text{what, ": VM-instruction error"});
}

// 64 bits of the register count.
constexpr std::uint64_t odd_types[]{4,
                                    5,
                                    7,
                                    8,
                                    31,
                                    32,
                                    33,
                                    63,
                                    64,
                                    0xff,
                                    0x100,
                                    0x1'0000'0000,
                                    0x1'0000'0001,
                                    0x1'0000'0002,
                                    std::uint64_t{1} << 63,
                                    ~std::uint64_t{0}};

} // namespace

VMX_TEST(tlb_invept_types, "vmx.tlb.invept_types", "INVEPT of a type that is not offered fails with error 28",
         "INVEPT", .needs = "ept,invept") {
    if (!offered(&invept))
        return;
    L2 guest;
    const ExtendedPageTables ept;
    const Descriptor descriptor{ept.pointer(), 0};
    for (unsigned type = 0; type < 4; ++type)
        if (has_invept(type))
            expect_equal(invept(type, descriptor), Outcome::succeed, Text{"type ", type});
        else
            expect_invalid_operand(&invept, type, descriptor, Text{"type ", type});
    for (const auto type : odd_types)
        expect_invalid_operand(&invept, type, descriptor, Text{"type ", conform::Hex{type}});
}
VMX_TEST(tlb_invvpid_types, "vmx.tlb.invvpid_types",
         "INVVPID of a type that is not offered fails with error 28", "INVVPID", .needs = "vpid,invvpid") {
    if (!offered(&invvpid))
        return;
    L2 guest;
    const Descriptor descriptor{1, 0};
    for (unsigned type = 0; type < 4; ++type)
        if (has_invvpid(type))
            expect_equal(invvpid(type, descriptor), Outcome::succeed, Text{"type ", type});
        else
            expect_invalid_operand(&invvpid, type, descriptor, Text{"type ", type});
    for (const auto type : odd_types)
        expect_invalid_operand(&invvpid, type, descriptor, Text{"type ", conform::Hex{type}});
}

VMX_TEST(tlb_no_vmcs, "vmx.tlb.invalidate_without_vmcs",
         "Without a current VMCS both instructions work, and fail by VMfailInvalid", "INVEPT",
         .needs = "ept,invept") {
    if (!offered(&invept))
        return;
    const ExtendedPageTables ept;
    for (unsigned type = 0; type < 4; ++type) {
        expect_equal(invept(type, {ept.pointer(), 0}),
                     has_invept(type) ? Outcome::succeed : Outcome::fail_invalid, Text{"INVEPT type ", type});
        if (offers_invvpid())
            expect_equal(invvpid(type, {1, 0}), has_invvpid(type) ? Outcome::succeed : Outcome::fail_invalid,
                         Text{"INVVPID type ", type});
    }
    if (offers_invvpid() && has_invvpid(1))
        expect_equal(invvpid(1, {0, 0}), Outcome::fail_invalid, "INVVPID of VPID 0");
}

VMX_TEST(tlb_invept_pointer, "vmx.tlb.invept_pointer",
         "Single-context INVEPT fails with error 28 for a pointer that VM entry would refuse", "INVEPT",
         .needs = "ept,invept_single") {
    if (!offered(&invept) || !has_invept(1))
        return;
    L2 guest;
    const ExtendedPageTables ept;
    const auto good = ept.pointer();
    const auto with_type = [good](std::uint64_t type) { return (good & ~eptp_bit::memory_type) | type; };
    for (const std::uint64_t type : {1, 2, 3, 4, 5, 7})
        expect_invalid_operand(&invept, 1, {with_type(type), 0}, Text{"memory type ", type});
    if ((ept_vpid_capabilities() & ept_capability::uncacheable) == 0)
        expect_invalid_operand(&invept, 1, {with_type(0), 0}, Text{"memory type 0"});
    for (const std::uint64_t length : {1, 2, 3, 5, 6, 7, 8})
        if (length != 5 || (ept_vpid_capabilities() & ept_capability::walk_length_5) == 0)
            expect_invalid_operand(&invept, 1, {(good & ~eptp_bit::walk_length) | (length - 1) << 3, 0},
                                   Text{"walk length ", length});
    for (unsigned bit = 8; bit <= 11; ++bit)
        expect_invalid_operand(&invept, 1, {good | std::uint64_t{1} << bit, 0}, Text{"bit ", bit});
    for (unsigned bit = physical_address_bits(); bit < 64; ++bit)
        expect_invalid_operand(&invept, 1, {good | std::uint64_t{1} << bit, 0}, Text{"bit ", bit});
    expect_equal(invept(1, {good ^ eptp_bit::accessed_dirty, 0}),
                 has_ept_accessed_dirty() ? Outcome::succeed : Outcome::fail_valid, "bit 6");
    expect_equal(invept(1, {good, 0}), Outcome::succeed, "the pointer itself");
}
VMX_TEST(tlb_invept_unused, "vmx.tlb.invept_unused_pointer",
         "Single-context INVEPT of a pointer that no L2 has used succeeds", "INVEPT",
         .needs = "ept,invept_single") {
    if (!offered(&invept) || !has_invept(1))
        return;
    const ExtendedPageTables ept;
    expect_equal(invept(1, {(ept.pointer() & 0xfff) | 0xd000'0000, 0}), Outcome::succeed,
                 "where no memory is");
    expect_equal(invept(1, {ept.pointer() & 0xfff, 0}), Outcome::succeed, "address 0");
}
VMX_TEST(tlb_invept_all, "vmx.tlb.invept_all_ignores_pointer",
         "All-context INVEPT does not look at the pointer", "INVEPT", .needs = "ept,invept_all") {
    if (!offered(&invept) || !has_invept(2))
        return;
    for (const auto value : {std::uint64_t{0}, ~std::uint64_t{0}, not_canonical})
        expect_equal(invept(2, {value, 0}), Outcome::succeed, Text{"EPTP ", conform::Hex{value}});
}

VMX_TEST(tlb_invvpid_zero, "vmx.tlb.invvpid_vpid_0",
         "INVVPID of VPID 0 fails with error 28, but for all VPIDs", "INVVPID", .needs = "vpid,invvpid") {
    if (!offered(&invvpid))
        return;
    L2 guest;
    for (unsigned type = 0; type < 4; ++type) {
        if (!has_invvpid(type))
            continue;
        if (type == 2)
            expect_equal(invvpid(type, {0, 0}), Outcome::succeed, Text{"type ", type});
        else
            expect_invalid_operand(&invvpid, type, {0, 0}, Text{"type ", type});
    }
}
VMX_TEST(tlb_invvpid_reserved, "vmx.tlb.invvpid_reserved",
         "Bits 63:16 of INVVPID's descriptor are reserved for every type", "INVVPID",
         .needs = "vpid,invvpid") {
    if (!offered(&invvpid))
        return;
    L2 guest;
    for (unsigned type = 0; type < 4; ++type)
        for (unsigned bit = 16; bit < 64 && has_invvpid(type); ++bit)
            expect_invalid_operand(&invvpid, type, {1 | std::uint64_t{1} << bit, 0},
                                   Text{"type ", type, ", bit ", bit});
}
VMX_TEST(tlb_invvpid_canonical, "vmx.tlb.invvpid_address_canonical",
         "INVVPID of an address that is not canonical fails with error 28; other types do not look at it",
         "INVVPID", .needs = "vpid,invvpid") {
    if (!offered(&invvpid))
        return;
    L2 guest;
    for (unsigned type = 0; type < 4; ++type) {
        if (!has_invvpid(type))
            continue;
        for (const auto address : {not_canonical, std::uint64_t{1} << 63, ~std::uint64_t{0} >> 1}) {
            const Text what{"type ", type, ", address ", conform::Hex{address}};
            if (type == 0)
                expect_invalid_operand(&invvpid, type, {1, address}, what);
            else
                expect_equal(invvpid(type, {1, address}), Outcome::succeed, what);
        }
        for (const auto address : {std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0} << 47})
            expect_equal(invvpid(type, {1, address}), Outcome::succeed,
                         Text{"type ", type, ", address ", conform::Hex{address}});
    }
}
VMX_TEST(tlb_invvpid_unused, "vmx.tlb.invvpid_unused_vpid", "INVVPID of a VPID that no L2 has used succeeds",
         "INVVPID", .needs = "vpid,invvpid") {
    if (!offered(&invvpid))
        return;
    for (unsigned type = 0; type < 4; ++type)
        for (const std::uint64_t vpid : {2, 0x8000, 0xffff})
            if (has_invvpid(type))
                expect_equal(invvpid(type, {vpid, 0}), Outcome::succeed,
                             Text{"type ", type, ", VPID ", conform::Hex{vpid}});
}

// Faults of the operand in memory, which is read whatever the type.
namespace {

const Descriptor& descriptor_at(std::uint64_t address) {
    return *reinterpret_cast<const Descriptor*>(address);
}

void operand_faults(Instruction instruction) {
    if (!offered(instruction))
        return;
    L2 guest;
    constexpr std::uint64_t linear = std::uint64_t{3} << 39;
    LongModeTables own;
    const auto page = conform::physical(conform::allocate_pages(1));
    own.entry(linear, 1) = page | page_bit::all;
    const auto before = guest::control_register<3>();
    asm volatile("movq %0, %%cr3" : : "r"(own.root()) : "memory");
    const auto try_at = [&](std::uint64_t address, std::uint64_t type) {
        return guest::catch_fault([&] { instruction(type, descriptor_at(address)); });
    };
    for (const std::uint64_t type : {1, 2}) {
        const auto missing = try_at(linear + 4096, type);
        expect(missing.is(page_fault), Text{"type ", type, ": #PF of an operand not present"});
        expect_equal(missing.error_code, 0U, "its error code");
        expect_equal(missing.cr2, linear + 4096, "its CR2");
        const auto crossing = try_at(linear + 4096 - 8, type);
        expect(crossing.is(page_fault), Text{"type ", type, ": #PF of an operand over the end of a page"});
        expect_equal(crossing.cr2, linear + 4096, "its CR2");
        const auto odd = try_at(not_canonical, type);
        expect(odd.is(general_protection), Text{"type ", type, ": #GP of an address not canonical"});
        expect_equal(odd.error_code, 0U, "its error code");
    }
    // The last 16 bytes of the page.
    *guest::pointer_to<Descriptor>(page + 4096 - 16) = {1, 0};
    expect(!try_at(linear + 4096 - 16, 2).raised, "an operand at the end of a page");
    asm volatile("movq %0, %%cr3" : : "r"(before) : "memory");
}

void ring_3(Instruction instruction, const char* what) {
    if (!offered(instruction))
        return;
    static Instruction at_hand;
    at_hand = instruction;
    static const Descriptor descriptor{1, 0};
    const auto in_ring_3 = [](std::uint64_t type) {
        static std::uint64_t at_hand_type;
        at_hand_type = type;
        return guest::catch_fault(
            [] { guest::run_in_user_mode([](void*) { at_hand(at_hand_type, descriptor); }, nullptr); });
    };
    for (const std::uint64_t type : {1, 2, 77}) {
        const auto fault = in_ring_3(type);
        expect(fault.is(general_protection), Text{what, " in ring 3 is #GP, type ", type});
        expect_equal(fault.error_code, 0U, "its error code");
    }
}

} // namespace

VMX_TEST(tlb_invept_operand, "vmx.tlb.invept_operand_faults",
         "INVEPT reads its operand whatever the type: #PF and #GP as of any load", "INVEPT",
         .needs = "ept,invept") {
    operand_faults(&invept);
}
VMX_TEST(tlb_invvpid_operand, "vmx.tlb.invvpid_operand_faults",
         "INVVPID reads its operand whatever the type: #PF and #GP as of any load", "INVVPID",
         .needs = "vpid,invvpid") {
    operand_faults(&invvpid);
}
VMX_TEST(tlb_invept_ring_3, "vmx.tlb.invept_ring_3", "INVEPT in ring 3 is #GP(0), whatever the type",
         "INVEPT", .needs = "ept,invept") {
    ring_3(&invept, "INVEPT");
}
VMX_TEST(tlb_invvpid_ring_3, "vmx.tlb.invvpid_ring_3", "INVVPID in ring 3 is #GP(0), whatever the type",
         "INVVPID", .needs = "vpid,invvpid") {
    ring_3(&invvpid, "INVVPID");
}
VMX_TEST(tlb_not_offered, "vmx.tlb.instructions_not_offered",
         "INVEPT and INVVPID that IA32_VMX_EPT_VPID_CAP does not offer are #UD", "INVEPT") {
    if (offers_invept() && offers_invvpid())
        return not_applicable("both instructions are offered");
    const Descriptor descriptor{1, 0};
    if (!offers_invept())
        expect(guest::catch_fault([&] { invept(2, descriptor); }).is(invalid_opcode), "INVEPT is #UD");
    if (!offers_invvpid())
        expect(guest::catch_fault([&] { invvpid(2, descriptor); }).is(invalid_opcode), "INVVPID is #UD");
}
VMX_TEST(tlb_after_vmxoff, "vmx.tlb.instructions_after_vmxoff",
         "INVEPT and INVVPID outside VMX operation are #UD", "INVEPT", .needs = "ept,invept") {
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    const Descriptor descriptor{1, 0};
    expect(guest::catch_fault([&] { invept(2, descriptor); }).is(invalid_opcode), "INVEPT is #UD");
    expect(guest::catch_fault([&] { invvpid(2, descriptor); }).is(invalid_opcode), "INVVPID is #UD");
    expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::succeed, "VMXON");
}

// The operands as assembled below: registers, the index doubled, and a displacement.
namespace {

L2_SNIPPET(l2_invept, "invept (%rsi), %rbx");
L2_SNIPPET(l2_invvpid, "invvpid (%rsi), %rbx");
L2_SNIPPET(l2_invept_indexed, "invept 0x1234(%r9,%r12,2), %r15");
L2_SNIPPET(l2_invvpid_indexed, "invvpid 0x1234(%r9,%r12,2), %r15");
L2_SNIPPET(l2_invept_stack, "invept -8(%rsp), %rax");
L2_SNIPPET(l2_invvpid_segment, "invvpid %fs:(%edi), %rcx");
L2_SNIPPET(l2_invept_relative, "invept 0x20(%rip), %rdx");

constexpr std::uint32_t no_register = 0x10;
// Bits of the instruction-information field that are defined.
std::uint32_t information(std::uint32_t scale, std::uint32_t address_size, Segment segment,
                          std::uint32_t index, std::uint32_t base, std::uint32_t second) {
    return scale | address_size << 7 | static_cast<std::uint32_t>(segment) << 15 |
           (index == no_register ? 1U << 22 : index << 18) | (base == no_register ? 1U << 27 : base << 23) |
           second << 28;
}
void exits(const Snippet& snippet, ExitReason reason, std::uint64_t qualification, std::uint32_t expected) {
    L2 guest;
    place(guest, snippet);
    if (!expect_exit(guest, snippet, reason, qualification))
        return;
    // Undefined: bits 14:11, 10:2 but for the address size; scale, index and base where there is none.
    std::uint32_t mask = 0xf007'8380 | 1U << 22 | 1U << 27;
    if ((expected >> 22 & 1) == 0)
        mask |= 0xfU << 18 | 3;
    if ((expected >> 27 & 1) == 0)
        mask |= 0xfU << 23;
    expect_equal(read(Field::exit_instruction_information) & mask, expected & mask,
                 "VM-exit instruction information");
}

} // namespace

#define EXITS(identifier, snippet, reason, title, qualification, ...)                                        \
    VMX_TEST(tlb_exit_##identifier, "vmx.tlb.exit_" #identifier, title " always leaves L2",                  \
             "Instructions That Cause VM Exits Unconditionally") {                                           \
        if (!offers_##reason())                                                                              \
            return not_applicable("the instruction is not offered");                                         \
        exits(snippet, ExitReason::reason, qualification, information(__VA_ARGS__));                         \
    }
EXITS(invept, l2_invept, invept, "INVEPT", 0, 0, 2, Segment::ds, no_register, 6, 3)
EXITS(invvpid, l2_invvpid, invvpid, "INVVPID", 0, 0, 2, Segment::ds, no_register, 6, 3)
EXITS(invept_indexed, l2_invept_indexed, invept, "INVEPT with an index", 0x1234, 1, 2, Segment::ds, 12, 9, 15)
EXITS(invvpid_indexed, l2_invvpid_indexed, invvpid, "INVVPID with an index", 0x1234, 1, 2, Segment::ds, 12, 9,
      15)
EXITS(invept_stack, l2_invept_stack, invept, "INVEPT of the stack", ~std::uint64_t{7}, 0, 2, Segment::ss,
      no_register, 4, 0)
EXITS(invvpid_segment, l2_invvpid_segment, invvpid, "INVVPID by FS with a 32-bit address", 0, 0, 1,
      Segment::fs, no_register, 7, 1)
// The displacement of an address relative to RIP has the next instruction's address added.
EXITS(invept_relative, l2_invept_relative, invept, "INVEPT relative to RIP", l2_invept_relative.end() + 0x20,
      0, 2, Segment::ds, no_register, no_register, 2)

namespace {

template<ExitReason reason>
void exit_from_ring_3(const Snippet& snippet) {
    L2 guest;
    // The exit has priority over the #GP that ring 3 would bring.
    auto code = [&] {
        conform::in_ring_3([&] {
            asm volatile("jmp *%0" : : "r"(snippet.address()), "b"(1), "S"(0) : "memory");
        });
    };
    guest.start(code);
    if (!guest.run_to(reason, "ring 3"))
        return;
    expect_equal(read(Field::guest_rip), snippet.address(), "guest RIP");
    expect_equal(read(Field::guest_cs_selector) & 3, 3U, "the ring it was in");
}

} // namespace

VMX_TEST(tlb_exit_invept_ring_3, "vmx.tlb.exit_invept_ring_3", "INVEPT leaves L2 from ring 3 too",
         "Relative Priority of Faults and VM Exits") {
    if (!offers_invept())
        return not_applicable("the instruction is not offered");
    exit_from_ring_3<ExitReason::invept>(l2_invept);
}
VMX_TEST(tlb_exit_invvpid_ring_3, "vmx.tlb.exit_invvpid_ring_3", "INVVPID leaves L2 from ring 3 too",
         "Relative Priority of Faults and VM Exits") {
    if (!offers_invvpid())
        return not_applicable("the instruction is not offered");
    exit_from_ring_3<ExitReason::invvpid>(l2_invvpid);
}

} // namespace nestbed::vmx
