// The EPT pointer and "enable EPT": what VM entry checks, and when they count.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/entry_checks.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint64_t cr0_pe = 1U << 0;
constexpr std::uint64_t cr0_pg = 1U << 31;

// L2 runs under EPT and is at a CPUID; then bits of its EPT pointer change, one test each.
struct Running {
    L2 guest;
    ExtendedPageTables ept;
    Running() {
        ept.use_in(guest);
        static auto code = [] {
            for (;;)
                guest::cpuid(0, 0);
        };
        guest.start(code);
        if (guest.run_to(ExitReason::cpuid, "L2 runs before the change"))
            guest.skip();
    }
    void refused(const Text& what) {
        const auto entry = guest.try_run();
        if (expect_equal(entry.outcome, Outcome::fail_valid, Text{what, ": VM entry"}))
            expect_equal(entry.error, static_cast<std::uint32_t>(InstructionError::entry_invalid_control),
                         Text{what, ": VM-instruction error"});
        write(Field::ept_pointer, ept.pointer());
        accepted(Text{what, ", set right again"});
    }
    void accepted(const Text& what) {
        if (guest.run_to(ExitReason::cpuid, what))
            guest.skip();
    }
};

void refuse_bits(std::uint64_t without, std::uint64_t with) {
    Running running;
    write(Field::ept_pointer, (running.ept.pointer() & ~without) | with);
    running.refused(Text{"EPTP ", conform::Hex{(running.ept.pointer() & ~without) | with}});
}

template<unsigned type>
void memory_type() {
    if ((type == 0 && (ept_vpid_capabilities() & ept_capability::uncacheable) != 0) ||
        (type == 6 && (ept_vpid_capabilities() & ept_capability::write_back) != 0)) {
        Running running;
        write(Field::ept_pointer, (running.ept.pointer() & ~eptp_bit::memory_type) | type);
        running.accepted(Text{"a memory type that is offered"});
        return;
    }
    refuse_bits(eptp_bit::memory_type, type);
}

template<unsigned length>
void walk_length() {
    if (length == 5 && (ept_vpid_capabilities() & ept_capability::walk_length_5) != 0)
        return not_applicable("EPT has walks of length 5");
    if (length == 4) {
        Running running;
        running.accepted(Text{"a walk length of 4"});
        return;
    }
    refuse_bits(eptp_bit::walk_length, (length - 1) << 3);
}

} // namespace

#define TYPE(type)                                                                                           \
    VMX_CASE(eptp_type_##type, "vmx.ept.eptp_memory_type_" #type,                                            \
             "EPTP's memory type is one of those that IA32_VMX_EPT_VPID_CAP offers",                         \
             "VM-Execution Control Fields", &memory_type<type>, .needs = "ept")
TYPE(0)
TYPE(1)
TYPE(2)
TYPE(3)
TYPE(4)
TYPE(5)
TYPE(6)
TYPE(7)
#define LENGTH(length)                                                                                       \
    VMX_CASE(eptp_length_##length, "vmx.ept.eptp_walk_length_" #length,                                      \
             "EPTP's page-walk length is one that IA32_VMX_EPT_VPID_CAP offers",                             \
             "VM-Execution Control Fields", &walk_length<length>, .needs = "ept")
LENGTH(1)
LENGTH(2)
LENGTH(3)
LENGTH(4)
LENGTH(5)
LENGTH(6)
LENGTH(7)
LENGTH(8)

VMX_TEST(eptp_reserved, "vmx.ept.eptp_reserved", "Bits 11:8 of EPTP are reserved",
         "VM-Execution Control Fields", .needs = "ept") {
    Running running;
    for (unsigned bit = 8; bit <= 11; ++bit) {
        write(Field::ept_pointer, running.ept.pointer() | std::uint64_t{1} << bit);
        running.refused(Text{"bit ", bit});
    }
}
VMX_TEST(eptp_shadow_stack, "vmx.ept.eptp_bit_7",
         "Bit 7 of EPTP is reserved where supervisor shadow-stack control is not offered",
         "VM-Execution Control Fields", .needs = "ept") {
    if ((ept_vpid_capabilities() >> 23 & 1) != 0)
        return not_applicable("EPT has supervisor shadow-stack control");
    refuse_bits(0, 1U << 7);
}
VMX_TEST(eptp_beyond, "vmx.ept.eptp_beyond", "Bits of EPTP beyond the physical-address width are reserved",
         "VM-Execution Control Fields", .needs = "ept") {
    Running running;
    for (unsigned bit = physical_address_bits(); bit < 64; ++bit) {
        write(Field::ept_pointer, running.ept.pointer() | std::uint64_t{1} << bit);
        running.refused(Text{"bit ", bit});
    }
}
VMX_TEST(eptp_flags, "vmx.ept.eptp_accessed_dirty",
         "EPTP bit 6 may be 1 where accessed and dirty flags are offered, and nowhere else",
         "VM-Execution Control Fields", .needs = "ept") {
    if (!has_ept_accessed_dirty())
        return refuse_bits(0, eptp_bit::accessed_dirty);
    Running running;
    write(Field::ept_pointer, running.ept.pointer() | eptp_bit::accessed_dirty);
    running.accepted(Text{"bit 6"});
}

VMX_TEST(eptp_ignored, "vmx.ept.eptp_ignored_without_ept", "Without EPT nothing of EPTP is checked or used",
         "VM-Execution Control Fields", .needs = "ept") {
    Running running;
    stop_using_ept();
    for (const auto value : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc'def0}}) {
        write(Field::ept_pointer, value);
        running.accepted(Text{"EPTP ", conform::Hex{value}});
        expect_equal(read(Field::ept_pointer), value, "EPTP after the exit");
    }
}
VMX_TEST(eptp_secondary_off, "vmx.ept.eptp_ignored_without_secondary_controls",
         "Without secondary controls \"enable EPT\" does not count, nor does EPTP",
         "VM-Execution Control Fields", .needs = "ept") {
    Running running;
    if (!allowed_primary().may_clear(primary::activate_secondary_controls))
        return not_applicable("secondary controls are always active");
    clear(Field::primary_controls, primary::activate_secondary_controls);
    write(Field::ept_pointer, ~std::uint64_t{0});
    running.accepted(Text{"\"enable EPT\" with an EPTP that is no pointer"});
    set(Field::primary_controls, primary::activate_secondary_controls);
    running.refused(Text{"the same with secondary controls"});
}

VMX_TEST(eptp_empty, "vmx.ept.eptp_of_empty_tables",
         "Under EPT that maps nothing L2's first fetch is an EPT violation of its PML4 table",
         "EPT Violations", .needs = "ept") {
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    auto code = [] {};
    guest.start(code);
    const auto empty = conform::physical(conform::allocate_pages(1));
    write(Field::ept_pointer, (ept.pointer() & ~page_bit::address) | empty);
    guest.run();
    expect_ept_violation(ept_violation::linear_valid | ept_violation::read, read(Field::guest_cr3),
                         read(Field::guest_rip), "the first fetch");
    write(Field::ept_pointer, ept.pointer());
    guest.run_to_end();
}

VMX_TEST(eptp_hole, "vmx.ept.eptp_without_memory",
         "EPT whose root is where no memory is: L2 does not run, and L1 goes on", "EPT-Induced VM Exits",
         .needs = "ept") {
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    std::uint64_t ran = 0;
    auto code = [&] { ran = 1; };
    guest.start(code);
    constexpr std::uint64_t hole = 0xd000'0000; // above memory, below the APIC
    write(Field::ept_pointer, (ept.pointer() & ~page_bit::address) | hole);
    // What is read there is not the manual's matter: a violation, a misconfiguration, or a triple fault.
    const auto entry = guest.try_run();
    expect_equal(entry.outcome, Outcome::succeed, "VM entry: the pointer itself is a valid one");
    expect(entry.basic() == ExitReason::ept_violation || entry.basic() == ExitReason::ept_misconfiguration ||
               entry.basic() == ExitReason::triple_fault,
           Text{"the exit reason tells of it, not ", static_cast<std::uint32_t>(entry.basic())});
    expect_equal(ran, 0U, "whether L2's code ran");
    write(Field::ept_pointer, ept.pointer());
    guest.start(code);
    guest.run_to_end();
    expect_equal(ran, 1U, "whether it runs with its EPT back");
}

VMX_TEST(ept_own_table, "vmx.ept.eptp_unchanged_by_run",
         "EPT pointer and CR3 in the VMCS are as before after L2 has run", "VM Exits", .needs = "ept") {
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    const auto cr3 = read(Field::guest_cr3);
    auto code = [] {};
    guest.start(code);
    guest.run_to_end();
    expect_equal(read(Field::ept_pointer), ept.pointer(), "EPT pointer");
    expect_equal(read(Field::guest_cr3), cr3, "guest CR3");
    expect_equal(guest::control_register<3>(), read(Field::host_cr3), "L1's CR3");
}

// A guest that is not unrestricted has to page, under EPT too.
#define RESTRICTED(identifier, name, title, ...)                                                             \
    VMX_TEST(restricted_##identifier, "vmx.ept.restricted_" name, title, "Checks on the Guest State Area",   \
             .needs = "ept") {                                                                               \
        fails_as_guest(                                                                                      \
            [](L2& guest) {                                                                                  \
                static ExtendedPageTables* ept;                                                              \
                ept = &conform::allocate<ExtendedPageTables>();                                              \
                *ept = ExtendedPageTables{};                                                                 \
                ept->use_in(guest);                                                                          \
                __VA_ARGS__;                                                                                 \
            },                                                                                               \
            0);                                                                                              \
    }
RESTRICTED(pg, "entry_without_paging",
           "VM entry with CR0.PG=0 needs an unrestricted guest, EPT is not enough",
           clear(Field::entry_controls, vm_entry::ia_32e_mode_guest);
           clear(Field::guest_cr0, cr0_pg))
RESTRICTED(pe, "entry_without_protection",
           "VM entry with CR0.PE=0 needs an unrestricted guest, EPT is not enough",
           clear(Field::entry_controls, vm_entry::ia_32e_mode_guest);
           clear(Field::guest_cr0, cr0_pg | cr0_pe))

namespace {

L2_CODE(l2_ept_paging_off_32, 32,
        "movl %cr0, %eax; andl $0x7fffffff, %eax; movl %eax, %cr0; movl %cr0, %ebx; vmcall");

} // namespace

VMX_TEST(restricted_mov, "vmx.ept.restricted_paging_off",
         "MOV that clears CR0.PG is #GP(0) in a restricted L2", "VMX Non-Root Operation", .needs = "ept") {
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    set_legacy_paging_mode(guest, reinterpret_cast<std::uint64_t>(l2_ept_paging_off_32),
                           conform::physical(conform::allocate_pages(2)) + 4096);
    guest.intercept_exception(13);
    if (!guest.run_to(ExitReason::exception_or_nmi, "L2 turns paging off"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event_with_error_code(EventType::hardware_exception, 13),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_interruption_error_code), 0U, "the #GP's error code");
    expect_equal(read(Field::guest_cr0) & cr0_pg, cr0_pg, "guest CR0.PG");
}
VMX_TEST(unrestricted_mov, "vmx.ept.unrestricted_paging_off", "An unrestricted L2 may clear CR0.PG",
         "Unrestricted Guests", .needs = "ept,unrestricted_guest") {
    if (!has_unrestricted_guest())
        return;
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    set_legacy_paging_mode(guest, reinterpret_cast<std::uint64_t>(l2_ept_paging_off_32),
                           conform::physical(conform::allocate_pages(2)) + 4096);
    set(Field::secondary_controls, secondary::unrestricted_guest);
    if (!guest.run_to(ExitReason::vmcall, "L2 turns paging off"))
        return;
    expect_equal(guest.registers.rbx & (cr0_pg | cr0_pe), cr0_pe, "CR0.PG and PE as L2 reads them");
    expect_equal(read(Field::guest_cr0) & (cr0_pg | cr0_pe), cr0_pe, "guest CR0.PG and PE");
}

} // namespace nestbed::vmx
