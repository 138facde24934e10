// The FADT: a hardware-reduced machine (ACPI 6.3, 4.1 and 5.2.9).
#pragma once

#include <cstdint>

#include "core/acpi/hardware.hpp"
#include "core/acpi/writer.hpp"

namespace nestbed::acpi {

// `dsdt` is its guest physical address, below 4 GiB.
[[nodiscard]] Bytes fadt(const Hardware& hardware, std::uint32_t dsdt);

} // namespace nestbed::acpi
