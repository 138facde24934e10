// L2 of VMX for drivers; see l2_driver.hpp.
#pragma once

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/l2.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "stress/guest/l2_driver.hpp"

namespace nestbed::guest {

class VmxDriver {
public:
    using Tables = vmx::ExtendedPageTables;
    static bool has_nested_paging() { return vmx::has_ept(); }
    static void enable() { vmx::enable(); }
    static Tables make_tables() {
        Tables tables;
        tables.entry(l2_hole, 1) = 0;
        return tables;
    }
    static void hypercall() {
        std::uint64_t rax = 0;
        asm volatile("vmcall" : "+a"(rax) : : "memory");
    }

    // Leaves by CPUID, VMCALL, I/O to the exit port, RDMSR of STAR and, with tables, where they have a hole.
    // Without bitmaps all I/O and all MSRs leave.
    explicit VmxDriver(const Tables* tables) {
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
    }
    conform::L2Exit enter() {
        _entry = _l2.enter();
        if (!_entry.exited())
            return conform::L2Exit::other;
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
    void skip(std::uint64_t bytes) { write(vmx::Field::guest_rip, read(vmx::Field::guest_rip) + bytes); }

private:
    vmx::L2 _l2;
    vmx::Entry _entry;
};

} // namespace nestbed::guest
