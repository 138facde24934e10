// The host takes a vCPU's state away and gives it back (KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE) while L2
// runs or L1 has things of SVM in hand. No instruction of L1 or L2 may show that it has done so: the sections
// are those of what must last.
#include "nested/svm/guest/tests/state.hpp"
#include "nested/guest/memory.hpp"
#include "nested/guest/reload.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::has_reload;
using conform::reload;
using conform::Text;

namespace {

// L2's code that does something before and after.
template<typename Body>
void run_in_l2(bool nested, Body&& body) {
    L2 guest;
    paging_for(guest, nested);
    guest.start(body);
    guest.run_to_end();
}

// What L1 intercepts is intercepted still, and what it does not is not.
template<bool nested>
void intercepts() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    guest.intercept(Intercept::cpuid);
    guest.intercept(Intercept::ioio_prot);
    guest.intercept(Intercept::msr_prot);
    guest.intercept(Intercept::hlt);
    guest.intercept_exception(6);
    constexpr std::uint16_t exit_port = nestbed::wire::exit_port;
    guest.iopm()[exit_port / 8] |= 1U << exit_port % 8;
    // STAR: two bits for an MSR, the second range begins at 800h (15.11).
    guest.msrpm()[0x800 + (msr::star - 0xc000'0000) / 4] |= 1U << (msr::star % 4) * 2;
    auto code = [] {
        reload();
        guest::cpuid(0, 0);
        reload();
        guest::rdmsr(msr::star);
        reload();
        guest::rdmsr(msr::lstar);
        guest::out32(exit_port, 0);
        reload();
        asm volatile("hlt");
        reload();
        asm volatile("ud2");
    };
    guest.start(code);
    if (!guest.run_to(ExitCode::cpuid, "CPUID after it"))
        return;
    guest.skip(2);
    if (!guest.run_to(ExitCode::msr, "RDMSR of STAR after it"))
        return;
    expect_equal(guest.control().exit_info_1, 0U, "EXITINFO1: a read");
    guest.skip(2);
    if (!guest.run_to(ExitCode::ioio, "OUT after it"))
        return;
    expect_equal(guest.control().exit_info_1 >> 16, exit_port, "EXITINFO1: the port");
    guest.save().rip = guest.control().exit_info_2;
    if (!guest.run_to(ExitCode::hlt, "HLT after it"))
        return;
    guest.skip(1);
    guest.run_to(exception_exit(6), "#UD after it");
}

template<bool nested>
void msrs() {
    if (!has_reload())
        return;
    static constexpr std::uint32_t indexes[]{msr::star,         msr::lstar,         msr::cstar,
                                             msr::sfmask,       msr::sysenter_cs,   msr::sysenter_esp,
                                             msr::sysenter_eip, msr::kernel_gs_base};
    constexpr std::size_t count = sizeof indexes / sizeof indexes[0];
    std::uint64_t seen[count]{};
    run_in_l2(nested, [&] {
        for (std::size_t i = 0; i < count; ++i)
            guest::wrmsr(indexes[i], 0x1000 * (i + 1));
        reload();
        for (std::size_t i = 0; i < count; ++i)
            seen[i] = guest::rdmsr(indexes[i]);
    });
    for (std::size_t i = 0; i < count; ++i)
        expect_equal(seen[i], 0x1000 * (i + 1), Text{"MSR ", conform::Hex{indexes[i]}, " in L2"});
}

void debug_registers() {
    if (!has_reload())
        return;
    std::uint64_t seen[5]{};
    run_in_l2(false, [&] {
        asm volatile("movq %0, %%dr0" : : "r"(std::uint64_t{0x1111}));
        asm volatile("movq %0, %%dr1" : : "r"(std::uint64_t{0x2222}));
        asm volatile("movq %0, %%dr2" : : "r"(std::uint64_t{0x3333}));
        asm volatile("movq %0, %%dr3" : : "r"(std::uint64_t{0x4444}));
        asm volatile("movq %0, %%dr6" : : "r"(std::uint64_t{0xffff'0ff5}));
        reload();
        asm volatile("movq %%dr0, %0" : "=r"(seen[0]));
        asm volatile("movq %%dr1, %0" : "=r"(seen[1]));
        asm volatile("movq %%dr2, %0" : "=r"(seen[2]));
        asm volatile("movq %%dr3, %0" : "=r"(seen[3]));
        asm volatile("movq %%dr6, %0" : "=r"(seen[4]));
    });
    for (std::uint64_t i = 0; i < 4; ++i)
        expect_equal(seen[i], 0x1111 * (i + 1), Text{"DR", i, " in L2"});
    expect_equal(seen[4], 0xffff'0ff5U, "DR6 in L2");
}

// L2's clock stays as far from L1's as it was.
template<bool nested>
void tsc_offset() {
    if (!has_reload())
        return;
    constexpr std::uint64_t offset = std::uint64_t{1} << 50;
    // What a slow machine takes for all of it.
    constexpr std::uint64_t long_time = std::uint64_t{1} << 44;
    L2 guest;
    paging_for(guest, nested);
    guest.control().tsc_offset = offset;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    auto code = [&] {
        before = guest::rdtsc();
        reload();
        after = guest::rdtsc();
    };
    const auto start = guest::rdtsc();
    guest.start(code);
    guest.run_to_end();
    const auto end = guest::rdtsc();
    expect(before - offset - start < long_time, "L2's TSC before it: L1's and the offset");
    expect(after - before < long_time, "L2's TSC runs on");
    expect(end - start < long_time, "L1's TSC runs on");
    expect(end + offset - after < long_time, "L1's TSC behind L2's by the offset");
}

template<bool nested>
void virtual_interrupt() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    guest.control().int_ctl = int_ctl::v_irq | 9U << int_ctl::v_intr_prio_shift | int_ctl::v_intr_masking;
    guest.control().int_vector = 0x99;
    std::uint32_t early = 0;
    auto code = [&] {
        reload();
        early = conform::l2_context().delivered;
        // Everything is mapped anew by now. Emulated processors lose what they deliver when L0 has to step
        // in, which is not what this is about: the first is a software interrupt.
        asm volatile("int $0x99");
        asm volatile("sti; nop");
        asm volatile("cli");
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(early, 0U, "events that L2 has taken with IF=0");
    expect_equal(guest.context().interrupts[0x99], 2U, "interrupts that L2 has taken");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, 0U, "V_IRQ afterwards");
}

// A physical interrupt that L1 intercepts waits while L2 holds IF at 0.
template<bool nested>
void physical_interrupt() {
    if (!has_reload())
        return;
    count_interrupts(0x41);
    L2 guest;
    paging_for(guest, nested);
    const auto self = guest::this_vcpu().apic_id;
    auto code = [self] {
        send_event_from_l2(self, guest::apic::Delivery::fixed, 0x41);
        reload();
        asm volatile("sti; nop; nop");
    };
    guest.start(code);
    guest.run_to(ExitCode::intr, "L2's STI");
    expect_equal(interrupts_taken(0x41), 1U, "interrupts that L1 has taken");
    expect_equal(guest.context().delivered, 0U, "events that L2 has taken");
}

// Not intercepted, an NMI is blocked in L2's handler until its IRET.
template<bool nested>
void nmi_blocking() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    static std::uint32_t in_handler;
    static std::uint32_t self;
    in_handler = 0;
    self = guest::this_vcpu().apic_id;
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        auto& context = conform::l2_context();
        if (frame.vector == 2 && context.exceptions[2] == 1) {
            reload();
            send_event_from_l2(self, guest::apic::Delivery::nmi);
            settle();
            in_handler = context.exceptions[2];
        }
        return true;
    };
    auto code = [] {
        send_event_from_l2(self, guest::apic::Delivery::nmi);
        settle();
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(in_handler, 1U, "NMIs taken up to the end of the first one's handler");
    expect_equal(guest.context().exceptions[2], 2U, "NMIs that L2 has taken");
}

template<bool nested>
void task_priority() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    guest.control().int_ctl = int_ctl::v_intr_masking | 7;
    guest.control().int_vector = 0;
    auto code = [] { reload(); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.control().int_ctl & int_ctl::v_tpr, 7U, "V_TPR afterwards");
    expect_equal(guest::control_register<8>(), 0U, "L1's CR8");
}

// The nested page tables that L1 gave are those in use: the page reads as L1 has mapped it, and what is not
// mapped faults.
void nested_tables() {
    if (!has_reload())
        return;
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    auto* const here = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const there = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    *here = 1;
    *there = 2;
    auto& entry = tables.entry(conform::physical(here), 1);
    entry = (entry & ~npt_bit::address) | conform::physical(there);
    std::uint64_t seen = 0;
    auto code = [&] {
        reload();
        seen = guest::load(*here);
        guest::cpuid(0, 0);
        reload();
        guest::store(*here, std::uint64_t{3});
    };
    guest.intercept(Intercept::cpuid);
    guest.start(code);
    if (!guest.run_to(ExitCode::cpuid, "L2 comes to its CPUID"))
        return;
    expect_equal(seen, 2U, "what L2 reads through the nested page tables");
    guest.skip(2);
    entry &= ~npt_bit::present;
    guest.control().tlb_control = tlb_control::flush_all;
    guest.run_to(ExitCode::npf, "L2 writes a page that is not there");
    expect_equal(guest.control().exit_info_2 & npt_bit::address, conform::physical(here), "EXITINFO2");
}

// L1 alone: between #VMEXIT and VMRUN.
template<bool nested>
void between_runs() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    guest.intercept(Intercept::cpuid);
    std::uint64_t rounds = 0;
    auto code = [&] {
        for (;;) {
            ++rounds;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    const HostState host;
    for (std::uint64_t i = 1; i <= 10; ++i) {
        if (!guest.run_to(ExitCode::cpuid, "CPUID"))
            return;
        guest.skip(2);
        expect_equal(rounds, i, "rounds of L2's");
        reload();
        expect_host(host);
    }
}

// In L1 with GIF=0: an interrupt and an NMI that wait go on waiting.
void gif_0() {
    if (!has_reload())
        return;
    count_interrupts(0x42);
    guest::enable_interrupts();
    clgi();
    interrupt_self(0x42);
    nmi_self();
    reload();
    settle();
    const auto early = interrupts_taken(0x42);
    const auto early_nmis = guest::load(guest::this_vcpu().nmis);
    stgi();
    settle();
    expect_equal(early, 0U, "interrupts taken with GIF=0");
    expect_equal(early_nmis, 0U, "NMIs taken with GIF=0");
    expect_equal(interrupts_taken(0x42), 1U, "interrupts taken after STGI");
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs taken after STGI");
}

void gif_1() {
    if (!has_reload())
        return;
    count_interrupts(0x42);
    guest::enable_interrupts();
    reload();
    interrupt_self(0x42);
    settle();
    expect_equal(interrupts_taken(0x42), 1U, "interrupts taken with GIF=1");
}

void without_svme() {
    if (!has_reload())
        return;
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) & ~msr::efer_bit::svme);
    reload();
    expect_equal(guest::rdmsr(msr::efer) & msr::efer_bit::svme, 0U, "EFER.SVME");
    enable();
    run_in_l2(false, [] { reload(); });
}

template<bool nested>
void many() {
    if (!has_reload())
        return;
    std::uint64_t rounds = 0;
    run_in_l2(nested, [&] {
        for (int i = 0; i < 50; ++i) {
            reload();
            ++rounds;
        }
    });
    expect_equal(rounds, 50U, "rounds of L2's");
}

// Two guests in turn: the state that comes back is that of the one that runs.
template<bool nested>
void two_guests() {
    if (!has_reload())
        return;
    L2 one;
    L2 two;
    paging_for(one, nested);
    paging_for(two, nested);
    two.control().asid = 2;
    std::uint64_t seen[2]{};
    L2* const guests[]{&one, &two};
    struct Job {
        std::uint64_t own;
        std::uint64_t* seen;
    };
    Job jobs[]{{0x1000, &seen[0]}, {0x2000, &seen[1]}};
    for (unsigned i = 0; i < 2; ++i) {
        guests[i]->intercept(Intercept::cpuid);
        guests[i]->start_at(
            [](void* argument) {
                auto& job = *static_cast<Job*>(argument);
                guest::wrmsr(msr::lstar, job.own);
                for (;;) {
                    reload();
                    guest::cpuid(0, 0);
                    guest::store(*job.seen, guest::rdmsr(msr::lstar));
                }
            },
            &jobs[i]);
    }
    for (int round = 0; round < 6; ++round) {
        auto& guest = *guests[round % 2];
        if (!guest.run_to(ExitCode::cpuid, "CPUID"))
            return;
        guest.skip(2);
    }
    expect_equal(seen[0], 0x1000U, "LSTAR of the first");
    expect_equal(seen[1], 0x2000U, "LSTAR of the second");
}

} // namespace

#define STATE(name, function, title, section)                                                                \
    SVM_CASE(state_##name, "svm.state." #name, title, section, &function<false>)                             \
    SVM_CASE(state_##name##_npt, "svm.state." #name "_npt", title ", with nested paging", section,           \
             &function<true>, .needs = "npt")
STATE(intercepts, intercepts, "What is intercepted stays so when the vCPU's state is taken and given back",
      "15.9")
STATE(msrs, msrs, "MSRs of L2's last when the vCPU's state is taken and given back", "15.5.1")
STATE(tsc_offset, tsc_offset, "TSC_OFFSET lasts when the vCPU's state is taken and given back", "15.30.5")
STATE(virtual_interrupt, virtual_interrupt,
      "A virtual interrupt that waits for IF lasts when the vCPU's state is taken and given back", "15.21.4")
STATE(physical_interrupt, physical_interrupt,
      "An interrupt that waits to leave L2 lasts when the vCPU's state is taken and given back", "15.13.1")
STATE(nmi_blocking, nmi_blocking, "NMIs stay blocked in L2 when the vCPU's state is taken and given back",
      "15.20")
STATE(task_priority, task_priority, "V_TPR lasts when the vCPU's state is taken and given back", "15.21.1")
STATE(between_runs, between_runs,
      "L2 goes on after its vCPU's state was taken and given back while L1 had it", "15.5")
STATE(many, many, "L2 runs on though its vCPU's state is taken and given back fifty times", "15.5")
STATE(two_guests, two_guests, "Two L2 guests in turn, each with its own state that is taken and given back",
      "15.5")
SVM_CASE(state_debug, "svm.state.debug_registers",
         "Debug registers of L2's last when the vCPU's state is taken and given back", "15.5.1",
         &debug_registers)
SVM_CASE(state_tables, "svm.state.nested_tables_npt",
         "Nested page tables last when the vCPU's state is taken and given back", "15.25.3", &nested_tables,
         .needs = "npt")
SVM_CASE(state_gif_0, "svm.state.gif_0", "GIF=0 lasts when the vCPU's state is taken and given back", "15.17",
         &gif_0)
SVM_CASE(state_gif_1, "svm.state.gif_1", "GIF=1 lasts when the vCPU's state is taken and given back", "15.17",
         &gif_1)
SVM_CASE(state_without_svme, "svm.state.without_svme",
         "EFER.SVME=0 lasts when the vCPU's state is taken and given back", "15.4", &without_svme)

} // namespace nestbed::svm
