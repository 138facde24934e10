// The DSDT: the devices that a guest cannot find by itself, and how to switch the machine off.
#pragma once

#include "core/acpi/hardware.hpp"
#include "core/acpi/writer.hpp"

namespace nestbed::acpi {

// Their names have three hexadecimal digits.
inline constexpr std::size_t max_virtio_devices = 4096;

[[nodiscard]] Bytes dsdt(const Hardware& hardware);

} // namespace nestbed::acpi
