// The host takes a vCPU's state away and gives it back while L2 runs in any mode, under EPT, and with events
// that wait.
#include "nested/guest/memory.hpp"
#include "nested/guest/reload.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/tests/state.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::has_reload;
using conform::Hex;
using conform::not_applicable;
using conform::reload;
using conform::Text;

L2_CODE(l2_state_32, 32, RELOAD_INSTRUCTION "; vmcall; " RELOAD_INSTRUCTION "; vmcall");
L2_CODE(l2_state_16, 16, RELOAD_INSTRUCTION "; vmcall; " RELOAD_INSTRUCTION "; vmcall");

namespace {

bool use_ept(L2& guest) {
    if (!has_ept()) {
        not_applicable("KVM does not offer EPT");
        return false;
    }
    const ExtendedPageTables tables;
    tables.use_in(guest);
    return true;
}

using SetMode = void (*)(L2&, std::uint64_t code, std::uint64_t stack);

// Outside 64-bit mode: what the first VM exit has saved, the second saves again.
template<SetMode set_mode, bool ept, bool unrestricted>
void in_mode(const char* code) {
    if (!has_reload() || (unrestricted && !has_unrestricted_guest()))
        return;
    L2 guest;
    if (ept && !use_ept(guest))
        return;
    set_mode(guest, address_of(code), conform::physical(conform::allocate_pages(2)));
    guest.registers.rdx = nestbed::wire::reload_port;
    guest.registers.rbx = 0x1234'5678;
    const HostState host;
    if (!exit_after(guest, ExitReason::vmcall, "the VMCALL after the first"))
        return;
    std::uint64_t before[guest_state_fields];
    for (std::size_t i = 0; i < guest_state_fields; ++i)
        before[i] = read(guest_state[i]);
    const auto rip = read(Field::guest_rip);
    if (!guest.run_to(ExitReason::vmcall, "the VMCALL after the second"))
        return;
    for (std::size_t i = 0; i < guest_state_fields; ++i)
        expect_equal(read(guest_state[i]), before[i],
                     Text{"field ", Hex{static_cast<std::uint64_t>(guest_state[i])}});
    expect(read(Field::guest_rip) > rip, "guest RIP: past the second");
    expect_equal(guest.registers.rbx, 0x1234'5678U, "RBX");
    expect_host(host);
}

void in_compatibility_mode() {
    in_mode<&set_compatibility_mode, false, false>(l2_state_32);
}
void in_pae() {
    in_mode<&set_pae_mode, false, false>(l2_state_32);
}
void in_pae_ept() {
    in_mode<&set_pae_mode, true, false>(l2_state_32);
}
void in_legacy_paging() {
    in_mode<&set_legacy_paging_mode, false, false>(l2_state_32);
}
void in_protected_mode() {
    in_mode<&set_protected_mode, true, true>(l2_state_32);
}
void in_real_mode() {
    in_mode<&set_real_mode, true, true>(l2_state_16);
}

// What L1 has mapped is what L2 sees, and what it has not is an EPT violation.
void ept_tables() {
    if (!has_reload())
        return;
    L2 guest;
    if (!has_ept())
        return not_applicable("KVM does not offer EPT");
    ExtendedPageTables tables;
    tables.use_in(guest);
    auto* const here = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    auto* const there = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    *here = 1;
    *there = 2;
    auto& entry = tables.entry(conform::physical(here), 1);
    entry = (entry & ~page_bit::address) | conform::physical(there);
    std::uint64_t seen = 0;
    auto code = [&] {
        reload();
        seen = guest::load(*here);
        guest::cpuid(0, 0);
        reload();
        guest::store(*here, std::uint64_t{3});
    };
    guest.start(code);
    if (!exit_after(guest, ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(seen, 2U, "what L2 reads through EPT");
    entry &= ~ept_bit::all;
    tables.invalidate();
    if (guest.run_to(ExitReason::ept_violation, "L2 writes a page that is not there"))
        expect_equal(read(Field::guest_physical_address) & page_bit::address, conform::physical(here),
                     "guest-physical address");
}

void nmi_blocking() {
    if (!has_reload())
        return;
    if (!allowed_pin_based().may_clear(pin_based::nmi_exiting))
        return not_applicable("NMIs always exit");
    L2 guest;
    static std::uint32_t in_handler;
    static std::uint32_t self;
    in_handler = 0;
    self = own_apic_id();
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

// L1 leaves interrupts to L2, which holds one off.
void pending_interrupt() {
    if (!has_reload())
        return;
    L2 guest;
    if (!give_interrupts_to_l2(guest))
        return;
    const auto self = own_apic_id();
    std::uint32_t early = 0;
    auto code = [&] {
        send_event_from_l2(self, guest::apic::Delivery::fixed, 0x91);
        reload();
        settle();
        early = conform::l2_context().delivered;
        asm volatile("sti; nop; nop");
        asm volatile("cli");
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(early, 0U, "events that L2 has taken with IF=0");
    expect_equal(guest.context().interrupts[0x91], 1U, "interrupts that L2 has taken");
}

} // namespace

#define STATE_MODE(name, words)                                                                              \
    VMX_CASE(state_##name, "vmx.state." #name,                                                               \
             "L2 in " words " has all its registers after its vCPU's state was taken and given back",        \
             "Loading Guest State", &name)
STATE_MODE(in_compatibility_mode, "compatibility mode")
STATE_MODE(in_pae, "PAE paging")
STATE_MODE(in_pae_ept, "PAE paging, under EPT,")
STATE_MODE(in_legacy_paging, "32-bit paging")
STATE_MODE(in_protected_mode, "protected mode without paging")
STATE_MODE(in_real_mode, "real mode")
VMX_CASE(state_ept, "vmx.state.ept_tables", "EPT lasts when the vCPU's state is taken and given back",
         "The Extended Page Table Mechanism (EPT)", &ept_tables)
VMX_CASE(state_nmi, "vmx.state.nmi_blocking",
         "NMIs stay blocked in L2 when the vCPU's state is taken and given back", "Guest Non-Register State",
         &nmi_blocking)
VMX_CASE(state_interrupt, "vmx.state.pending_interrupt",
         "An interrupt that waits for L2's RFLAGS.IF lasts when the vCPU's state is taken and given back",
         "Guest Non-Register State", &pending_interrupt)

} // namespace nestbed::vmx
