#include "nested/svm/guest/l2.hpp"

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::physical;

namespace {

// Attributes as in the VMCB: descriptor bits 47:40 and 55:52.
constexpr std::uint16_t code64 = 0xa9b;
constexpr std::uint16_t data = 0xc93;
constexpr std::uint16_t busy_tss64 = 0x08b;
constexpr std::uint16_t ldt = 0x082;
constexpr std::uint32_t flat = 0xffff'ffff;

void end_of_l2_code() {
    for (;;)
        conform::l2_hypercall(conform::l2_done);
}

void set_up_save_area(SaveArea& save, conform::L2Context& context) {
    save.cs = {nestbed::wire::kernel_code_selector, code64, flat, 0};
    save.ss = save.ds = save.es = {nestbed::wire::kernel_data_selector, data, flat, 0};
    save.fs = {nestbed::wire::kernel_data_selector, data, flat, 0};
    save.gs = {nestbed::wire::kernel_data_selector, data, flat, physical(&context)};
    save.gdtr = {0, 0, sizeof context.gdt - 1, physical(context.gdt)};
    save.idtr = {0, 0, sizeof context.idt - 1, physical(context.idt)};
    save.tr = {nestbed::wire::task_selector, busy_tss64, 0x67, physical(context.tss)};
    save.ldtr = {0, ldt, 0xffff, 0};
    save.efer = guest::rdmsr(msr::efer);
    save.cr0 = guest::control_register<0>();
    save.cr3 = guest::control_register<3>();
    save.cr4 = guest::control_register<4>();
    save.dr6 = 0xffff'0ff0;
    save.dr7 = 0x400;
    save.rflags = 2;
    save.g_pat = guest::rdmsr(msr::pat);
    save.star = guest::rdmsr(msr::star);
    save.lstar = guest::rdmsr(msr::lstar);
    save.cstar = guest::rdmsr(msr::cstar);
    save.sfmask = guest::rdmsr(msr::sfmask);
}

void note_registers(nested::wire::Registers& to, const SaveArea& save, const GeneralRegisters& general) {
    to = {.rax = save.rax,
          .rbx = general.rbx,
          .rcx = general.rcx,
          .rdx = general.rdx,
          .rsi = general.rsi,
          .rdi = general.rdi,
          .rbp = general.rbp,
          .rsp = save.rsp,
          .r8 = general.r8,
          .r9 = general.r9,
          .r10 = general.r10,
          .r11 = general.r11,
          .r12 = general.r12,
          .r13 = general.r13,
          .r14 = general.r14,
          .r15 = general.r15,
          .rip = save.rip,
          .rflags = save.rflags,
          .cr0 = save.cr0,
          .cr2 = save.cr2,
          .cr3 = save.cr3,
          .cr4 = save.cr4,
          .efer = save.efer};
}

} // namespace

L2::L2()
    : _vmcb{&conform::allocate<Vmcb>()}, _context{&conform::make_l2_context()},
      _iopm{static_cast<std::uint8_t*>(conform::allocate_pages(iopm_bytes / 4096))},
      _msrpm{static_cast<std::uint8_t*>(conform::allocate_pages(msrpm_bytes / 4096))} {
    auto& area = control();
    area.iopm_base_pa = physical(_iopm);
    area.msrpm_base_pa = physical(_msrpm);
    area.asid = 1;
    intercept(Intercept::intr);
    intercept(Intercept::shutdown);
    intercept(Intercept::vmrun);
    intercept(Intercept::vmmcall);
    set_up_save_area(save(), *_context);
}

std::uint64_t L2::vmcb_pa() const {
    return physical(_vmcb);
}

void L2::move_vmcb(Vmcb& to) {
    conform::copy_page(&to, _vmcb);
    _vmcb = &to;
}

void L2::start_at(void (*function)(void*), void* argument) {
    save().rip = reinterpret_cast<std::uint64_t>(function);
    const auto top = physical(_context->stack) + sizeof _context->stack;
    // As after a CALL: the stack pointer is 8 off a multiple of 16.
    *guest::pointer_to<std::uint64_t>(top - 8) = reinterpret_cast<std::uint64_t>(&end_of_l2_code);
    save().rsp = top - 8;
    registers.rdi = reinterpret_cast<std::uint64_t>(argument);
}

ExitCode L2::enter() {
    clgi();
    svm_enter(vmcb_pa(), &registers, physical(this_host().state));
    stgi();
    return static_cast<ExitCode>(control().exit_code);
}

ExitCode L2::enter_lean() {
    save().idtr.limit = 0;
    clgi();
    svm_enter_lean(vmcb_pa(), &registers);
    stgi();
    return static_cast<ExitCode>(control().exit_code);
}

ExitCode L2::run() {
    auto& report = conform::report();
    const bool keep = report.frozen == 0;
    if (keep)
        conform::copy_page(report.written, _vmcb);
    ++report.runs;
    guest::store(report.in_l2, std::uint64_t{1});
    const auto code = enter();
    guest::store(report.in_l2, std::uint64_t{0});
    if (keep) {
        conform::copy_page(report.after, _vmcb);
        note_registers(report.l2, save(), registers);
    }
    if (code == ExitCode::vmmcall && save().rax == conform::l2_died) {
        const auto& fatal = _context->fatal;
        conform::expect(false,
                        conform::Text{"L2 raises no exception of its own, yet vector ", fatal.vector,
                                      ", error code ", conform::Hex{fatal.error_code}, ", RIP ",
                                      conform::Hex{fatal.rip}, ", CR2 ", conform::Hex{_context->fatal_cr2}});
    }
    return code;
}

bool L2::run_to(ExitCode expected, const char* what, const char* file, std::uint32_t line) {
    return conform::expect_equal(run(), expected, conform::Text{"EXITCODE: ", what}, file, line);
}

bool L2::at_end() const {
    return static_cast<ExitCode>(_vmcb->control.exit_code) == ExitCode::vmmcall &&
           _vmcb->save.rax == conform::l2_done;
}

bool L2::run_to_end(const char* what, const char* file, std::uint32_t line) {
    return run_to(ExitCode::vmmcall, what, file, line) &&
           conform::expect_equal(save().rax, conform::l2_done, what, file, line);
}

ExitCode vmrun_refused(L2& guest) {
    auto& report = conform::report();
    if (report.frozen == 0)
        conform::copy_page(report.written, &guest.vmcb());
    ++report.runs;
    clgi();
    // VMLOAD and VMSAVE around it, since a VMRUN that is wrongly let through really runs L2.
    svm_enter(guest.vmcb_pa(), &guest.registers, physical(this_host().state));
    if (report.frozen == 0) {
        conform::copy_page(report.after, &guest.vmcb());
        note_registers(report.l2, guest.save(), guest.registers);
    }
    return static_cast<ExitCode>(guest.control().exit_code);
}

namespace {
constexpr std::uint8_t gif_vector = 0xe0;
std::uint32_t gif_interrupts[4096];
void count_gif_interrupt(std::uint64_t) {
    guest::add(gif_interrupts[guest::this_vcpu().vcpu % 4096], 1U);
}
} // namespace

bool gif_is_set() {
    guest::set_interrupt_handler(gif_vector, &count_gif_interrupt);
    auto& count = gif_interrupts[guest::this_vcpu().vcpu % 4096];
    const auto before = guest::load(count);
    guest::enable_interrupts();
    guest::apic::write(
        guest::apic::Register::interrupt_command,
        guest::apic::command(0, guest::apic::Shorthand::self, guest::apic::Delivery::fixed, gif_vector));
    // A self-IPI is taken at the next instruction boundary; a thousand of them leave no doubt.
    for (int i = 0; i < 1000 && guest::load(count) == before; ++i)
        guest::pause();
    const bool came = guest::load(count) != before;
    stgi();
    while (guest::load(count) == before)
        guest::pause();
    return came;
}

} // namespace nestbed::svm
