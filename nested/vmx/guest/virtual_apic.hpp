// An L2 with a virtual APIC (SDM volume 3, chapter "APIC Virtualization and Virtual Interrupts").
#pragma once

#include <cstdint>

#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

// Offsets in the virtual-APIC page.
enum class Apic : std::uint32_t {
    id = 0x20,
    version = 0x30,
    task_priority = 0x80,
    processor_priority = 0xa0,
    end_of_interrupt = 0xb0,
    logical_destination = 0xd0,
    destination_format = 0xe0,
    spurious_vector = 0xf0,
    in_service = 0x100, // eight registers, 16 bytes apart
    trigger_mode = 0x180,
    request = 0x200,
    error_status = 0x280,
    interrupt_command = 0x300,
    interrupt_command_high = 0x310,
    lvt_timer = 0x320,
    initial_count = 0x380,
    current_count = 0x390,
    divide = 0x3e0,
    self_ipi = 0x3f0,
};

constexpr std::uint32_t x2apic_msr(Apic reg) {
    return 0x800 + (static_cast<std::uint32_t>(reg) >> 4);
}

// Whether KVM offers all of these controls; where it does not, the test is not applicable.
bool offers_apic(std::uint32_t primary_controls, std::uint32_t secondary_controls);

class VirtualApic {
public:
    // With the TPR shadow, threshold 0, and these secondary controls. An APIC-access page is there in any
    // case.
    explicit VirtualApic(std::uint32_t secondary_controls = 0);

    L2 guest;

    [[nodiscard]] std::uint32_t& at(std::uint32_t offset) const { return _page[offset / 4]; }
    [[nodiscard]] std::uint32_t& at(Apic reg) const { return at(static_cast<std::uint32_t>(reg)); }
    // Bit `vector` of the eight registers that begin at `first`.
    [[nodiscard]] bool is_set(Apic first, std::uint8_t vector) const;
    void set_vector(Apic first, std::uint8_t vector, bool on = true) const;

    // Where L2 finds its APIC: a page of memory, all 0x5a, which no access may reach.
    [[nodiscard]] std::uint64_t access_page() const;
    [[nodiscard]] bool access_page_untouched() const;

    // Requests this vector: VIRR and RVI.
    void request(std::uint8_t vector) const;

private:
    std::uint32_t* _page;
    std::uint8_t* _access;
};

} // namespace nestbed::vmx
