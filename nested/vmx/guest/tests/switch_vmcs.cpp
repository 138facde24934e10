// A VMCS over VMCLEAR, VMPTRLD and copies: all of its guest keeps its state (SDM volume 3, "Software Use of
// Virtual-Machine Control Structures").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

#define USE "Software Use of Virtual-Machine Control Structures"

// Every field that L2 and VM exits do not change here, with what L1 wrote to it.
constexpr Field guest_fields[]{Field::guest_es_selector,
                               Field::guest_cs_selector,
                               Field::guest_ss_selector,
                               Field::guest_ds_selector,
                               Field::guest_fs_selector,
                               Field::guest_gs_selector,
                               Field::guest_ldtr_selector,
                               Field::guest_tr_selector,
                               Field::guest_es_limit,
                               Field::guest_cs_limit,
                               Field::guest_ss_limit,
                               Field::guest_ds_limit,
                               Field::guest_fs_limit,
                               Field::guest_gs_limit,
                               Field::guest_tr_limit,
                               Field::guest_gdtr_limit,
                               Field::guest_idtr_limit,
                               Field::guest_es_access_rights,
                               Field::guest_cs_access_rights,
                               Field::guest_ss_access_rights,
                               Field::guest_ds_access_rights,
                               Field::guest_fs_access_rights,
                               Field::guest_gs_access_rights,
                               Field::guest_tr_access_rights,
                               Field::guest_es_base,
                               Field::guest_cs_base,
                               Field::guest_ss_base,
                               Field::guest_ds_base,
                               Field::guest_fs_base,
                               Field::guest_gs_base,
                               Field::guest_tr_base,
                               Field::guest_gdtr_base,
                               Field::guest_idtr_base,
                               Field::guest_cr0,
                               Field::guest_cr3,
                               Field::guest_cr4,
                               Field::guest_rflags,
                               Field::guest_ia32_sysenter_cs,
                               Field::guest_ia32_sysenter_esp,
                               Field::guest_ia32_sysenter_eip,
                               Field::guest_activity_state,
                               Field::guest_interruptibility_state,
                               Field::vmcs_link_pointer,
                               Field::guest_dr7};
constexpr Field other_fields[]{Field::pin_based_controls,
                               Field::primary_controls,
                               Field::exception_bitmap,
                               Field::exit_controls,
                               Field::entry_controls,
                               Field::cr0_guest_host_mask,
                               Field::cr4_guest_host_mask,
                               Field::cr0_read_shadow,
                               Field::cr4_read_shadow,
                               Field::tsc_offset,
                               Field::page_fault_error_code_mask,
                               Field::page_fault_error_code_match,
                               Field::host_cr0,
                               Field::host_cr3,
                               Field::host_cr4,
                               Field::host_cs_selector,
                               Field::host_tr_selector,
                               Field::host_fs_base,
                               Field::host_gs_base,
                               Field::host_tr_base,
                               Field::host_gdtr_base,
                               Field::host_idtr_base,
                               Field::host_rip,
                               Field::host_ia32_sysenter_cs,
                               Field::host_ia32_sysenter_esp,
                               Field::host_ia32_sysenter_eip,
                               Field::entry_msr_load_count,
                               Field::exit_msr_load_count,
                               Field::exit_msr_store_count,
                               Field::cr3_target_count};
constexpr unsigned field_count =
    sizeof guest_fields / sizeof guest_fields[0] + sizeof other_fields / sizeof other_fields[0];

struct Snapshot {
    std::uint64_t value[field_count];
};
Snapshot take() {
    Snapshot snapshot{};
    unsigned i = 0;
    for (const auto field : guest_fields)
        snapshot.value[i++] = read(field);
    for (const auto field : other_fields)
        snapshot.value[i++] = read(field);
    return snapshot;
}
void expect_same(const Snapshot& before, const char* when, const char* file = __builtin_FILE(),
                 std::uint32_t line = __builtin_LINE()) {
    const auto now = take();
    unsigned i = 0;
    const auto one = [&](Field field) {
        expect_equal(now.value[i], before.value[i],
                     Text{"field ", conform::Hex{static_cast<std::uint32_t>(field)}, " ", when}, file, line);
        ++i;
    };
    for (const auto field : guest_fields)
        one(field);
    for (const auto field : other_fields)
        one(field);
}

L2_CODE(l2_vm_sti, 64, "sti; cpuid; vmcall");
L2_CODE(l2_vm_mov_ss, 64, "movw %ax, %ss; cpuid; vmcall");
L2_CODE(l2_vm_count, 64, "1: movq (%rdi), %rax; leaq 1(%rax), %rax; movq %rax, (%rdi); cpuid; jmp 1b");

// Values of its own in fields that nothing in L2 depends on.
void make_distinct(L2& guest, std::uint64_t salt) {
    start_code(guest, l2_vm_count, reinterpret_cast<std::uint64_t>(&guest.context().value[0]));
    write(Field::guest_fs_base, 0x1'0000'0000 * (salt + 1));
    write(Field::guest_fs_limit, 0x100 + salt);
    write(Field::guest_fs_access_rights, 0x4093);
    write(Field::guest_es_limit, 0x200 + salt);
    write(Field::guest_es_access_rights, 0x4093);
    write(Field::guest_es_base, 0x3000 + salt);
    write(Field::guest_ds_selector, 0x48 + salt * 8);
    write(Field::guest_ia32_sysenter_cs, 0x100 + salt);
    write(Field::guest_ia32_sysenter_esp, 0x1000 + salt);
    write(Field::guest_ia32_sysenter_eip, 0x2000 + salt);
    write(Field::guest_gdtr_limit, 0x1000 + salt);
    write(Field::guest_idtr_limit, 0x2000 + salt);
    write(Field::tsc_offset, 0x5000 + salt);
    write(Field::page_fault_error_code_mask, salt);
}

bool step(L2& guest, std::uint64_t count) {
    return guest.run_to(ExitReason::cpuid, "CPUID") &&
           expect_equal(guest.context().value[0], count, "what L2 has counted") && (guest.skip(), true);
}

} // namespace

VMX_TEST(vmcs_kept, "vmx.switch.fields_kept",
         "Fields that L2 does not change are as L1 wrote them after exits", USE) {
    L2 guest;
    make_distinct(guest, 3);
    const auto before = take();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        if (!step(guest, i))
            return;
        expect_same(before, "after an exit");
    }
}

VMX_TEST(vmcs_cleared, "vmx.switch.fields_over_vmclear",
         "VMCLEAR and VMPTRLD keep every field, and VMLAUNCH goes on there", USE) {
    L2 guest;
    make_distinct(guest, 5);
    const auto before = take();
    for (std::uint64_t i = 1; i <= 4; ++i) {
        if (!step(guest, i))
            return;
        const auto rip = read(Field::guest_rip);
        guest.clear();
        expect_same(before, "after VMCLEAR");
        expect_equal(read(Field::guest_rip), rip, "guest RIP after VMCLEAR");
    }
}

VMX_TEST(vmcs_copied, "vmx.switch.copied", "A VMCS that was cleared and copied elsewhere runs on there",
         USE) {
    L2 first;
    make_distinct(first, 7);
    const auto before = take();
    if (!step(first, 1) || !step(first, 2))
        return;
    // The copy is another L2's VMCS, whose registers are those of the first.
    L2 second;
    expect_equal(vmclear(second.vmcs_pa()), Outcome::succeed, "VMCLEAR of the target");
    expect_equal(vmclear(first.vmcs_pa()), Outcome::succeed, "VMCLEAR of the source");
    conform::copy_page(guest::pointer_to<void>(second.vmcs_pa()), guest::pointer_to<void>(first.vmcs_pa()));
    second.clear();
    second.registers = first.registers;
    second.registers.host_rsp = 0;
    expect_same(before, "in the copy");
    if (!second.run_to(ExitReason::cpuid, "CPUID of the copy"))
        return;
    expect_equal(first.context().value[0], 3U, "what L2 has counted");
    expect_same(before, "in the copy after an exit");
    // And the original stands where it was.
    first.clear();
    expect_same(before, "in the original");
    first.run_to(ExitReason::cpuid, "CPUID of the original");
    expect_equal(first.context().value[0], 4U, "what L2 has counted then");
}

VMX_TEST(vmcs_in_turn, "vmx.switch.in_turn", "Three VMCSs that run in turn keep all their fields apart",
         USE) {
    L2 guests[3];
    Snapshot before[3];
    for (unsigned i = 0; i < 3; ++i) {
        guests[i].load();
        make_distinct(guests[i], 8 + i);
        before[i] = take();
    }
    for (std::uint64_t round = 1; round <= 3; ++round)
        for (unsigned i = 0; i < 3; ++i) {
            guests[i].load();
            if (!step(guests[i], round))
                return;
            expect_same(before[i], "after its exit");
            const auto& other = guests[(i + 1) % 3];
            conform::expect_equal(vmptrld(other.vmcs_pa()), Outcome::succeed, "VMPTRLD");
            expect_same(before[(i + 1) % 3], "of another VMCS");
        }
}

VMX_TEST(vmcs_changed_between, "vmx.switch.changed_at_resume",
         "What L1 changes between two VMRESUMEs is what L2 runs with, one field at a time", USE) {
    L2 guest;
    std::uint64_t seen[4]{};
    auto code = [&] {
        for (;;) {
            seen[0] = guest::rdmsr(msr::fs_base);
            seen[1] = guest::rdmsr(msr::sysenter_esp);
            seen[2] = guest::rdmsr(msr::sysenter_cs);
            std::uint16_t es = 0;
            asm volatile("movw %%es, %0" : "=r"(es));
            seen[3] = es;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    constexpr Field field[]{Field::guest_fs_base, Field::guest_ia32_sysenter_esp,
                            Field::guest_ia32_sysenter_cs, Field::guest_es_selector};
    std::uint64_t value[4]{0x1000, 0x2000, 0x30, 0x40};
    for (unsigned i = 0; i < 4; ++i)
        write(field[i], value[i]);
    for (unsigned round = 0; round < 12; ++round) {
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        for (unsigned i = 0; i < 4; ++i)
            expect_equal(seen[i], value[i], Text{"field ", i, " in L2, entry ", round + 1});
        guest.skip();
        value[round % 4] += 8;
        write(field[round % 4], value[round % 4]);
    }
}

VMX_TEST(vmcs_interruptibility, "vmx.switch.interruptibility",
         "An exit from a shadow saves it: STI and MOV SS each by its own bit", "Saving Non-Register State") {
    for (const bool mov_ss : {false, true}) {
        L2 guest;
        start_code(guest, mov_ss ? l2_vm_mov_ss : l2_vm_sti);
        write(Field::guest_rflags, rflags_fixed);
        guest.registers.rax = nestbed::wire::kernel_data_selector;
        if (!guest.run_to(ExitReason::cpuid, "CPUID in the shadow"))
            return;
        expect_equal(read(Field::guest_interruptibility_state), mov_ss ? blocking_by_mov_ss : blocking_by_sti,
                     mov_ss ? "interruptibility state behind MOV SS" : "interruptibility state behind STI");
    }
}

} // namespace nestbed::vmx
