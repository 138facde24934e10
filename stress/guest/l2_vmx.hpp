// L2 of VMX for drivers; see l2_driver.hpp.
#pragma once

#include "core/guest/runtime.hpp"
#include "nested/guest/events.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/event.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/l2.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "stress/guest/l2_driver.hpp"

namespace nestbed::guest {

class VmxDriver {
public:
    using Tables = vmx::ExtendedPageTables;
    static constexpr bool uses_vmmcall = false;
    static bool has_nested_paging() { return vmx::has_ept(); }
    static void enable() { vmx::enable(); }
    static Tables make_tables() {
        Tables tables;
        tables.entry(l2_hole, 1) = 0;
        tables.entry(l2_window, 1) = 0;
        return tables;
    }
    static void map(Tables& tables, std::uint64_t guest_physical, std::uint64_t page) {
        store(tables.entry(guest_physical, 1), page | vmx::ept_bit::leaf);
    }
    // Translations are told apart by EPT pointer, and without VPIDs linear ones go with every entry and exit.
    static std::uint32_t address_spaces() { return ~std::uint32_t{0}; }
    static void hypercall() {
        std::uint64_t rax = 0;
        asm volatile("vmcall" : "+a"(rax) : : "memory");
    }

    // Leaves by CPUID, VMCALL, I/O to the exit port, RDMSR of STAR and, with tables, where they have a hole.
    // Without bitmaps all I/O and all MSRs leave.
    explicit VmxDriver(const Tables* tables, L2Kind kind = L2Kind::lean) : _kind{kind}, _tables{tables} {
        for (std::uint32_t port = wire::exit_port; port < wire::exit_port + 4; ++port)
            _l2.io_bitmaps()[port / 8] =
                static_cast<std::uint8_t>(_l2.io_bitmaps()[port / 8] | 1U << port % 8);
        // Reads of 0xC0000000 to 0xC0001FFF from byte 0x400 (SDM volume 3, "MSR-Bitmap Address").
        constexpr auto bit = vmx::msr::star - 0xc000'0000U;
        _l2.msr_bitmap()[0x400 + bit / 8] =
            static_cast<std::uint8_t>(_l2.msr_bitmap()[0x400 + bit / 8] | 1U << bit % 8);
        if (tables != nullptr)
            tables->use_in(_l2);
    }

    template<typename Body>
    void start(Body& body) {
        _l2.start(body);
        if (_kind == L2Kind::whole)
            write(vmx::Field::guest_rflags, conform::rflags_fixed | conform::rflags_if);
    }
    void use_address_space(std::uint32_t /*which*/) {}
    void flush() {
        if (_tables != nullptr)
            _tables->invalidate();
    }
    void leave() { _l2.leave(); }
    void arrive() {
        _l2.arrive();
        flush();
    }
    void inject(std::uint8_t vector) {
        write(vmx::Field::entry_interruption_information,
              vmx::event(vmx::EventType::external_interrupt, vector));
    }
    // A canary in the VMCS.
    void set_es(std::uint16_t selector) { write(vmx::Field::guest_es_selector, selector); }
    // Members that read or write L2's state are of the guest that was entered last on this vCPU.
    conform::L2Exit enter() {
        if (_kind == L2Kind::whole)
            _l2.load();
        _entry = _l2.enter();
        if (!_entry.exited())
            return conform::L2Exit::other;
        // An exit in the middle of a delivery: the event is to be delivered once more (SDM volume 3,
        // "Information for VM Exits That Occur During Event Delivery").
        if (_kind == L2Kind::whole)
            if (const auto event = read(vmx::Field::idt_vectoring_information);
                (event & vmx::event_valid) != 0)
                write(vmx::Field::entry_interruption_information, event & ~std::uint64_t{1U << 12});
        switch (_entry.basic()) {
        case vmx::ExitReason::cpuid:
            return conform::L2Exit::cpuid;
        case vmx::ExitReason::vmcall:
            return conform::L2Exit::hypercall;
        case vmx::ExitReason::io_instruction:
            return conform::L2Exit::io;
        case vmx::ExitReason::rdmsr:
            return conform::L2Exit::msr;
        case vmx::ExitReason::ept_violation:
            return conform::L2Exit::nested_page_fault;
        case vmx::ExitReason::external_interrupt:
            return conform::L2Exit::interrupt;
        default:
            return conform::L2Exit::other;
        }
    }
    // The exit-reason field.
    [[nodiscard]] std::uint64_t code() const { return _entry.reason; }
    [[nodiscard]] bool at_end() const { return _l2.at_end(); }
    [[nodiscard]] std::uint64_t rax() { return _l2.registers.rax; }
    void set_rax(std::uint64_t value) { _l2.registers.rax = value; }
    [[nodiscard]] conform::L2Context& context() { return _l2.context(); }
    void skip(std::uint64_t bytes) { write(vmx::Field::guest_rip, read(vmx::Field::guest_rip) + bytes); }

private:
    L2Kind _kind;
    const Tables* _tables;
    vmx::L2 _l2;
    vmx::Entry _entry;
};

} // namespace nestbed::guest
