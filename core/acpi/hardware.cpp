#include "core/acpi/hardware.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "core/acpi/dsdt.hpp"

namespace nestbed::acpi {

namespace {

constexpr std::string_view asked = "describe the devices in ACPI tables";
constexpr std::uint64_t end_of_32_bits = 0x1'0000'0000;

Status check_windows(std::vector<VirtioMmio> windows) {
    std::sort(windows.begin(), windows.end(),
              [](const VirtioMmio& a, const VirtioMmio& b) { return a.address < b.address; });
    std::uint64_t last_end = 0;
    for (const auto& window : windows) {
        if (window.bytes == 0 || window.address >= end_of_32_bits ||
            window.bytes > end_of_32_bits - window.address)
            return fail(ErrorKind::bad_input, std::string{asked},
                        fmt::format("the virtio window of {:#x} bytes at {:#x} is not below 4 GiB",
                                    window.bytes, window.address));
        if (window.address < last_end)
            return fail(ErrorKind::bad_input, std::string{asked},
                        fmt::format("two virtio windows overlap at {:#x}", window.address));
        last_end = window.address + window.bytes;
    }
    return {};
}

Status check_ports(const Hardware& hardware) {
    const std::set<std::uint16_t> ports{0, hardware.sleep_control_port, hardware.sleep_status_port,
                                        hardware.reset_port};
    if (ports.size() < 4)
        return fail(ErrorKind::bad_input, std::string{asked},
                    "sleep control, sleep status and reset register have no I/O port each");
    return {};
}

} // namespace

Status check(const Hardware& hardware) {
    if (auto status = check_ports(hardware); !status)
        return status;
    std::set<std::uint32_t> taken;
    const auto take = [&](std::uint32_t gsi) -> Status {
        const auto& ioapic = hardware.ioapic;
        if (gsi < ioapic.gsi_base || gsi - ioapic.gsi_base >= ioapic.pins)
            return fail(ErrorKind::bad_input, std::string{asked},
                        fmt::format("GSI {} is no pin of an I/O APIC with {} pins from GSI {} on", gsi,
                                    ioapic.pins, ioapic.gsi_base),
                        "use fewer devices");
        if (!taken.insert(gsi).second)
            return fail(ErrorKind::bad_input, std::string{asked},
                        fmt::format("two devices have GSI {}", gsi));
        return {};
    };
    if (hardware.virtio.size() > max_virtio_devices)
        return fail(ErrorKind::bad_input, std::string{asked},
                    fmt::format("{} virtio devices", hardware.virtio.size()),
                    fmt::format("use {} or fewer", max_virtio_devices));
    for (const auto& serial : hardware.serial)
        if (auto status = take(serial.gsi); !status)
            return status;
    for (const auto& device : hardware.virtio)
        if (auto status = take(device.gsi); !status)
            return status;
    return check_windows(hardware.virtio);
}

} // namespace nestbed::acpi
