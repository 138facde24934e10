// What Linux (arch/x86/kernel/acpi/boot.c) makes of the order and the types:
// - It numbers CPUs in the order of the table and calls it a firmware bug where the BSP is not the first.
// - Where there is any short structure, long ones with ids below 255 are taken for duplicates and ignored; a
//   table of long ones alone loses all CPUs on kernels without x2APIC.
// - There are no interrupt source overrides: without a PIC there is no ISA interrupt to override, and devices
//   name their GSIs in the DSDT. No override for the SCI either, since a hardware-reduced machine has none.
// - PCAT_COMPAT is clear, so Linux does not probe for 8259s.
#include "core/acpi/madt.hpp"

#include "core/acpi/table.hpp"

namespace nestbed::acpi {

namespace {

// Of ACPI 6.3, as is the FADT's minor version. It brings "online capable", which means nothing for a
// processor that is enabled.
constexpr std::uint8_t madt_revision = 5;

constexpr std::uint32_t local_apic_address = 0xfee0'0000;
constexpr std::uint32_t enabled = 1;

// NMIs come in by LINT1 on all processors; polarity and trigger mode are those of the bus. Linux warns about
// any other pin.
constexpr std::uint8_t nmi_pin = 1;
constexpr std::uint8_t all_processors = 0xff;
constexpr std::uint32_t all_x2apic_processors = 0xffff'ffff;

Bytes local_apic(const topology::VcpuPlacement& vcpu) {
    return Writer{}
        .u8(0)
        .u8(8)
        .u8(static_cast<std::uint8_t>(vcpu.vcpu)) // not above the id, since ids ascend with the vCPUs
        .u8(static_cast<std::uint8_t>(vcpu.apic_id))
        .u32(enabled)
        .take();
}

Bytes local_x2apic(const topology::VcpuPlacement& vcpu) {
    return Writer{}.u8(9).u8(16).u16(0).u32(vcpu.apic_id).u32(enabled).u32(vcpu.vcpu).take();
}

Bytes io_apic(const Ioapic& ioapic) {
    return Writer{}.u8(1).u8(12).u8(ioapic.id).u8(0).u32(ioapic.address).u32(ioapic.gsi_base).take();
}

Bytes local_apic_nmi() {
    return Writer{}.u8(4).u8(6).u8(all_processors).u16(0).u8(nmi_pin).take();
}

Bytes local_x2apic_nmi() {
    return Writer{}.u8(10).u8(12).u16(0).u32(all_x2apic_processors).u8(nmi_pin).zeros(3).take();
}

} // namespace

Bytes madt(const topology::Plan& plan, const Hardware& hardware) {
    Writer short_ids;
    Writer long_ids;
    for (const auto& vcpu : plan.vcpus)
        if (vcpu.apic_id <= max_short_apic_id)
            short_ids.bytes(local_apic(vcpu));
        else
            long_ids.bytes(local_x2apic(vcpu));

    Writer nmis;
    nmis.bytes(local_apic_nmi());
    if (long_ids.size() > 0)
        nmis.bytes(local_x2apic_nmi());

    return table("APIC", madt_revision,
                 Writer{}
                     .u32(local_apic_address)
                     .u32(0) // flags: PCAT_COMPAT is clear
                     .bytes(short_ids.take())
                     .bytes(long_ids.take())
                     .bytes(io_apic(hardware.ioapic))
                     .bytes(nmis.take())
                     .take());
}

} // namespace nestbed::acpi
