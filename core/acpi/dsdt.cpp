// No processor devices (ACPI0007): Linux on x86 takes processors from the MADT and their nodes from the SRAT.
// It would bind its processor driver to the devices, which looks for C-states, P-states and throttling that a
// guest has none of, and 4096 of them would cost the interpreter time in every boot. They are for hot-plug.
#include "core/acpi/dsdt.hpp"

#include <fmt/format.h>

#include "core/acpi/aml.hpp"
#include "core/acpi/table.hpp"

namespace nestbed::acpi {

namespace {

// Integers are 64 bits wide from revision 2 on.
constexpr std::uint8_t dsdt_revision = 2;

constexpr std::uint8_t uart_ports = 8;

// PNP0501 is "16550A-compatible COM port". Without this device the driver would still look at the legacy
// ports, but with IRQ 4 of a PIC that is not there.
Bytes serial_device(const Serial& serial, std::size_t index) {
    return aml::device(
        fmt::format("COM{}", index + 1),
        Writer{}
            .bytes(aml::name("_HID", aml::eisa_id("PNP0501")))
            .bytes(aml::name("_UID", aml::integer(index + 1)))
            .bytes(aml::name("_CRS", aml::resource_template({aml::io_ports(serial.port, uart_ports),
                                                             aml::edge_interrupt(serial.gsi)})))
            .take());
}

// LNRO0005 is what drivers/virtio/virtio_mmio.c binds to.
Bytes virtio_device(const VirtioMmio& device, std::size_t index) {
    const auto window = aml::memory32_fixed(static_cast<std::uint32_t>(device.address),
                                            static_cast<std::uint32_t>(device.bytes));
    return aml::device(
        fmt::format("V{:03X}", index),
        Writer{}
            .bytes(aml::name("_HID", aml::string("LNRO0005")))
            .bytes(aml::name("_UID", aml::integer(index)))
            .bytes(aml::name("_CRS", aml::resource_template({window, aml::edge_interrupt(device.gsi)})))
            .take());
}

} // namespace

Bytes dsdt(const Hardware& hardware) {
    Writer devices;
    for (std::size_t i = 0; i < hardware.serial.size(); ++i)
        devices.bytes(serial_device(hardware.serial[i], i));
    for (std::size_t i = 0; i < hardware.virtio.size(); ++i)
        devices.bytes(virtio_device(hardware.virtio[i], i));

    // 7.4.2.6: the first element is the type for the sleep control register, the second is for a second PM1
    // register, which hardware-reduced machines do not have; two more are reserved.
    const auto soft_off =
        aml::package({aml::integer(soft_off_type), aml::integer(0), aml::integer(0), aml::integer(0)});
    return table(
        "DSDT", dsdt_revision,
        Writer{}.bytes(aml::scope("\\_SB", devices.take())).bytes(aml::name("\\_S5", soft_off)).take());
}

} // namespace nestbed::acpi
