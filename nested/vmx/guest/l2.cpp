#include "nested/vmx/guest/l2.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::physical;

namespace {

// Access rights as in the VMCS: descriptor bits 55:40, bit 16 for a segment that is unusable.
constexpr std::uint32_t code64 = 0xa09b;
constexpr std::uint32_t data = 0xc093;
constexpr std::uint32_t busy_tss64 = 0x008b;
constexpr std::uint32_t unusable = 0x1'0000;
constexpr std::uint64_t flat = 0xffff'ffff;
constexpr std::uint64_t cr4_vmxe = 1U << 13;

struct [[gnu::packed]] TableRegister {
    std::uint16_t limit;
    std::uint64_t base;
};

void end_of_l2_code() {
    for (;;)
        conform::l2_hypercall(conform::l2_done);
}

void set_up_controls(const std::uint8_t* io_bitmaps, const std::uint8_t* msr_bitmap) {
    write(Field::pin_based_controls, allowed_pin_based().adjust(pin_based::external_interrupt_exiting));
    // Without them, all I/O and all MSRs exit.
    const auto first = allowed_primary().adjust(primary::use_io_bitmaps | primary::use_msr_bitmaps |
                                                primary::activate_secondary_controls);
    write(Field::primary_controls, first);
    if ((first & primary::use_io_bitmaps) != 0) {
        write(Field::io_bitmap_a, physical(io_bitmaps));
        write(Field::io_bitmap_b, physical(io_bitmaps) + 4096);
    }
    if ((first & primary::use_msr_bitmaps) != 0)
        write(Field::msr_bitmaps, physical(msr_bitmap));
    // Instructions that L1 has, L2 has.
    if ((first & primary::activate_secondary_controls) != 0)
        write(Field::secondary_controls,
              allowed_secondary().adjust(secondary::enable_rdtscp | secondary::enable_invpcid |
                                         secondary::enable_xsaves_xrstors));
    write(Field::exit_controls,
          allowed_exit().adjust(vm_exit::host_address_space_size | vm_exit::save_ia32_efer |
                                vm_exit::load_ia32_efer | vm_exit::save_ia32_pat | vm_exit::load_ia32_pat));
    write(Field::entry_controls, allowed_entry().adjust(vm_entry::ia_32e_mode_guest |
                                                        vm_entry::load_ia32_efer | vm_entry::load_ia32_pat));
    for (const auto field :
         {Field::exception_bitmap, Field::page_fault_error_code_mask, Field::page_fault_error_code_match,
          Field::cr3_target_count, Field::exit_msr_store_count, Field::exit_msr_load_count,
          Field::entry_msr_load_count, Field::entry_interruption_information, Field::cr0_guest_host_mask})
        write(field, 0);
    // L2 does not see that CR4.VMXE is set for it.
    write(Field::cr4_guest_host_mask, cr4_vmxe);
    write(Field::cr4_read_shadow, guest::control_register<4>() & ~cr4_vmxe);
    write(Field::cr0_read_shadow, guest::control_register<0>());
}

} // namespace

void write_host_state() {
    std::uint16_t selector = 0;
    write(Field::host_cr0, guest::control_register<0>());
    write(Field::host_cr3, guest::control_register<3>());
    write(Field::host_cr4, guest::control_register<4>());
    asm volatile("movw %%cs, %0" : "=r"(selector));
    write(Field::host_cs_selector, selector);
    asm volatile("movw %%ss, %0" : "=r"(selector));
    write(Field::host_ss_selector, selector);
    asm volatile("movw %%ds, %0" : "=r"(selector));
    write(Field::host_ds_selector, selector);
    asm volatile("movw %%es, %0" : "=r"(selector));
    write(Field::host_es_selector, selector);
    asm volatile("movw %%fs, %0" : "=r"(selector));
    write(Field::host_fs_selector, selector);
    asm volatile("movw %%gs, %0" : "=r"(selector));
    write(Field::host_gs_selector, selector);
    asm volatile("str %0" : "=r"(selector));
    write(Field::host_tr_selector, selector);
    write(Field::host_fs_base, guest::rdmsr(msr::fs_base));
    write(Field::host_gs_base, guest::rdmsr(msr::gs_base));
    TableRegister gdtr{};
    TableRegister idtr{};
    asm volatile("sgdt %0" : "=m"(gdtr));
    asm volatile("sidt %0" : "=m"(idtr));
    write(Field::host_gdtr_base, gdtr.base);
    write(Field::host_idtr_base, idtr.base);
    // The base of a 64-bit TSS is in four parts of its descriptor (SDM volume 3, "TSS Descriptor").
    const auto* const descriptor = guest::pointer_to<std::uint64_t>(gdtr.base + (selector & ~7U));
    write(Field::host_tr_base, (descriptor[0] >> 16 & 0xff'ffff) | (descriptor[0] >> 56) << 24 |
                                   (descriptor[1] & 0xffff'ffff) << 32);
    write(Field::host_ia32_sysenter_cs, guest::rdmsr(msr::sysenter_cs));
    write(Field::host_ia32_sysenter_esp, guest::rdmsr(msr::sysenter_esp));
    write(Field::host_ia32_sysenter_eip, guest::rdmsr(msr::sysenter_eip));
    if (allowed_exit().may_set(vm_exit::load_ia32_efer))
        write(Field::host_ia32_efer, guest::rdmsr(msr::efer));
    if (allowed_exit().may_set(vm_exit::load_ia32_pat))
        write(Field::host_ia32_pat, guest::rdmsr(msr::pat));
    write(Field::host_rip, reinterpret_cast<std::uint64_t>(vmx_exit_return));
}

namespace {

void set_up_segments(conform::L2Context& context) {
    struct Segment {
        Field selector, limit, access, base;
        std::uint64_t value_selector, value_limit, value_access, value_base;
    };
    using nestbed::wire::kernel_code_selector;
    using nestbed::wire::kernel_data_selector;
    const Segment segments[]{
        {Field::guest_cs_selector, Field::guest_cs_limit, Field::guest_cs_access_rights, Field::guest_cs_base,
         kernel_code_selector, flat, code64, 0},
        {Field::guest_ss_selector, Field::guest_ss_limit, Field::guest_ss_access_rights, Field::guest_ss_base,
         kernel_data_selector, flat, data, 0},
        {Field::guest_ds_selector, Field::guest_ds_limit, Field::guest_ds_access_rights, Field::guest_ds_base,
         kernel_data_selector, flat, data, 0},
        {Field::guest_es_selector, Field::guest_es_limit, Field::guest_es_access_rights, Field::guest_es_base,
         kernel_data_selector, flat, data, 0},
        {Field::guest_fs_selector, Field::guest_fs_limit, Field::guest_fs_access_rights, Field::guest_fs_base,
         kernel_data_selector, flat, data, 0},
        {Field::guest_gs_selector, Field::guest_gs_limit, Field::guest_gs_access_rights, Field::guest_gs_base,
         kernel_data_selector, flat, data, physical(&context)},
        {Field::guest_ldtr_selector, Field::guest_ldtr_limit, Field::guest_ldtr_access_rights,
         Field::guest_ldtr_base, 0, 0xffff, unusable, 0},
        {Field::guest_tr_selector, Field::guest_tr_limit, Field::guest_tr_access_rights, Field::guest_tr_base,
         nestbed::wire::task_selector, 0x67, busy_tss64, physical(context.tss)},
    };
    for (const auto& segment : segments) {
        write(segment.selector, segment.value_selector);
        write(segment.limit, segment.value_limit);
        write(segment.access, segment.value_access);
        write(segment.base, segment.value_base);
    }
    write(Field::guest_gdtr_base, physical(context.gdt));
    write(Field::guest_gdtr_limit, sizeof context.gdt - 1);
    write(Field::guest_idtr_base, physical(context.idt));
    write(Field::guest_idtr_limit, sizeof context.idt - 1);
}

void set_up_guest(conform::L2Context& context) {
    set_up_segments(context);
    write(Field::guest_cr0, guest::control_register<0>());
    write(Field::guest_cr3, guest::control_register<3>());
    write(Field::guest_cr4, guest::control_register<4>());
    write(Field::guest_dr7, 0x400);
    write(Field::guest_rflags, 2);
    write(Field::guest_ia32_debugctl, 0);
    write(Field::guest_ia32_sysenter_cs, guest::rdmsr(msr::sysenter_cs));
    write(Field::guest_ia32_sysenter_esp, guest::rdmsr(msr::sysenter_esp));
    write(Field::guest_ia32_sysenter_eip, guest::rdmsr(msr::sysenter_eip));
    if (allowed_entry().may_set(vm_entry::load_ia32_efer))
        write(Field::guest_ia32_efer, guest::rdmsr(msr::efer));
    if (allowed_entry().may_set(vm_entry::load_ia32_pat))
        write(Field::guest_ia32_pat, guest::rdmsr(msr::pat));
    write(Field::guest_activity_state, 0);
    write(Field::guest_interruptibility_state, 0);
    write(Field::guest_pending_debug_exceptions, 0);
    write(Field::vmcs_link_pointer, ~std::uint64_t{0});
}

void note_registers(nested::wire::Registers& to, const GeneralRegisters& r) {
    // RIP, RSP and control registers are in the VMCS.
    to = {.rax = r.rax,
          .rbx = r.rbx,
          .rcx = r.rcx,
          .rdx = r.rdx,
          .rsi = r.rsi,
          .rdi = r.rdi,
          .rbp = r.rbp,
          .rsp = 0,
          .r8 = r.r8,
          .r9 = r.r9,
          .r10 = r.r10,
          .r11 = r.r11,
          .r12 = r.r12,
          .r13 = r.r13,
          .r14 = r.r14,
          .r15 = r.r15,
          .rip = 0,
          .rflags = 0,
          .cr0 = 0,
          .cr2 = guest::control_register<2>(),
          .cr3 = 0,
          .cr4 = 0,
          .efer = 0};
}

} // namespace

L2::L2()
    : _vmcs{make_region()}, _context{&conform::make_l2_context()}, _io_bitmaps{static_cast<std::uint8_t*>(
                                                                       conform::allocate_pages(2))},
      _msr_bitmap{static_cast<std::uint8_t*>(conform::allocate_pages(1))} {
    clear();
    set_up_controls(_io_bitmaps, _msr_bitmap);
    write_host_state();
    set_up_guest(*_context);
}

void L2::leave() {
    conform::expect_equal(vmclear(vmcs_pa()), Outcome::succeed, "VMCLEAR");
    _launched = false;
    registers.host_rsp = 0;
}

void L2::arrive() {
    load();
    write_host_state();
}

std::uint64_t L2::vmcs_pa() const {
    return physical(_vmcs);
}

void L2::start_at(void (*function)(void*), void* argument) {
    write(Field::guest_rip, reinterpret_cast<std::uint64_t>(function));
    const auto top = physical(_context->stack) + sizeof _context->stack;
    // As after a CALL: the stack pointer is 8 off a multiple of 16.
    *guest::pointer_to<std::uint64_t>(top - 8) = reinterpret_cast<std::uint64_t>(&end_of_l2_code);
    write(Field::guest_rsp, top - 8);
    registers.rdi = reinterpret_cast<std::uint64_t>(argument);
}

Entry L2::enter() {
    std::uint64_t flags = 0;
    asm volatile("pushfq; popq %0" : "=r"(flags));
    guest::disable_interrupts();
    const auto failed = vmx_enter(&registers, _launched ? 1 : 0);
    Entry entry;
    if (failed != 0) {
        entry.outcome = outcome_of(failed);
        if (entry.outcome == Outcome::fail_valid)
            entry.error = static_cast<std::uint32_t>(read(Field::instruction_error));
    } else {
        entry.reason = static_cast<std::uint32_t>(read(Field::exit_reason));
        // An entry that fails late leaves the launch state as it was.
        _launched = _launched || entry.exited();
    }
    if ((flags & 1U << 9) != 0)
        guest::enable_interrupts();
    return entry;
}

Entry L2::try_run() {
    auto& report = conform::report();
    const bool keep = report.frozen == 0;
    ++report.runs;
    guest::store(report.in_l2, std::uint64_t{1});
    const auto entry = enter();
    guest::store(report.in_l2, std::uint64_t{0});
    if (keep)
        note_registers(report.l2, registers);
    if (entry.exited() && entry.basic() == ExitReason::vmcall && registers.rax == conform::l2_died) {
        const auto& fatal = _context->fatal;
        conform::expect(false,
                        conform::Text{"L2 raises no exception of its own, yet vector ", fatal.vector,
                                      ", error code ", conform::Hex{fatal.error_code}, ", RIP ",
                                      conform::Hex{fatal.rip}, ", CR2 ", conform::Hex{_context->fatal_cr2}});
    }
    return entry;
}

ExitReason L2::run() {
    const auto entry = try_run();
    if (conform::expect_equal(
            entry.outcome, Outcome::succeed,
            conform::Text{"VM entry (VM-instruction error ", std::uint64_t{entry.error}, ")"}))
        conform::expect_equal(entry.reason >> 31, 0U, "exit reason bit 31, VM-entry failure");
    return entry.basic();
}

bool L2::run_to(ExitReason expected, const char* what, const char* file, std::uint32_t line) {
    return conform::expect_equal(run(), expected, conform::Text{"exit reason: ", what}, file, line);
}

bool L2::run_to_end(const char* what, const char* file, std::uint32_t line) {
    return run_to(ExitReason::vmcall, what, file, line) &&
           conform::expect_equal(registers.rax, conform::l2_done, what, file, line);
}

} // namespace nestbed::vmx
