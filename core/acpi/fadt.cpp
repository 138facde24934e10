// Hardware-reduced means: no SCI, no PM1 and GPE registers, no PM timer, no FACS, and for Linux on x86
// (acpi_generic_reduced_hw_init()) neither the PIC nor the PIT. So the guest has nothing to calibrate with:
// it takes the frequency of its TSC from kvmclock or CPUID, and uses the APIC timer in TSC-deadline mode or
// measures it against the TSC.
#include "core/acpi/fadt.hpp"

#include "core/acpi/table.hpp"

namespace nestbed::acpi {

namespace {

// Revision 6 with minor version 3 has 276 bytes, which is what every kernel since 4.2 expects; a longer one
// makes older kernels say "FADT (revision 6) is longer than".
constexpr std::uint8_t fadt_revision = 6;
constexpr std::uint8_t fadt_minor_version = 3;

// 5.2.9.3 "IA-PC Boot Architecture Flags". Legacy devices and the 8042 are absent by bits that are clear:
// COM1 is in the DSDT, so nothing has to be probed for. The RTC's bit keeps Linux from reading CMOS and from
// making a platform device of it; wall clock time comes from kvmclock.
constexpr std::uint16_t vga_not_present = 1 << 2;
constexpr std::uint16_t cmos_rtc_not_present = 1 << 5;

// Table 5-34 "Fixed ACPI Description Table Fixed Feature Flags".
constexpr std::uint32_t wbinvd = 1 << 0;
constexpr std::uint32_t no_fixed_power_button = 1 << 4;
constexpr std::uint32_t no_fixed_sleep_button = 1 << 5;
constexpr std::uint32_t reset_reg_sup = 1 << 10;
constexpr std::uint32_t hw_reduced_acpi = 1 << 20;

// More microseconds than 100 and 1000: there is no C2 and no C3.
constexpr std::uint16_t no_c2 = 101;
constexpr std::uint16_t no_c3 = 1001;

constexpr std::size_t generic_address_bytes = 12;

// 5.2.3.2 "Generic Address Structure": one byte in system I/O space, accessed as a byte.
Bytes byte_register(std::uint16_t port) {
    constexpr std::uint8_t system_io = 1;
    constexpr std::uint8_t byte_access = 1;
    return Writer{}.u8(system_io).u8(8).u8(0).u8(byte_access).u64(port).take();
}

} // namespace

Bytes fadt(const Hardware& hardware, std::uint32_t dsdt) {
    Writer body;
    body.u32(0)     // FIRMWARE_CTRL: no FACS
        .u32(dsdt)  // the same as X_DSDT; Linux warns where the two differ
        .u8(0)      // reserved
        .u8(0)      // Preferred_PM_Profile: unspecified
        .u16(0)     // SCI_INT
        .zeros(8)   // SMI_CMD, ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
        .zeros(32)  // PM1a_EVT_BLK to GPE1_BLK
        .zeros(8)   // their lengths, GPE1_BASE, CST_CNT
        .u16(no_c2) // P_LVL2_LAT
        .u16(no_c3) // P_LVL3_LAT
        .zeros(4)   // FLUSH_SIZE, FLUSH_STRIDE: WBINVD works
        .zeros(5)   // DUTY_OFFSET, DUTY_WIDTH, DAY_ALRM, MON_ALRM, CENTURY
        .u16(vga_not_present | cmos_rtc_not_present)
        .u8(0) // reserved
        .u32(wbinvd | no_fixed_power_button | no_fixed_sleep_button | reset_reg_sup | hw_reduced_acpi)
        .bytes(byte_register(hardware.reset_port))
        .u8(hardware.reset_value)
        .u16(0) // ARM_BOOT_ARCH
        .u8(fadt_minor_version)
        .u64(0)                           // X_FIRMWARE_CTRL
        .u64(dsdt)                        // X_DSDT
        .zeros(8 * generic_address_bytes) // X_PM1a_EVT_BLK to X_GPE1_BLK
        .bytes(byte_register(hardware.sleep_control_port))
        .bytes(byte_register(hardware.sleep_status_port))
        .text("NESTBED")
        .u8(0); // the hypervisor's vendor identity, 8 bytes
    return table("FACP", fadt_revision, body.take());
}

} // namespace nestbed::acpi
