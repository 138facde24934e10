// The MADT: every vCPU's local APIC, and the I/O APIC (ACPI 6.3, 5.2.12).
#pragma once

#include <cstdint>

#include "core/acpi/hardware.hpp"
#include "core/acpi/writer.hpp"
#include "topology/plan.hpp"

namespace nestbed::acpi {

// Ids up to here have the short structures in MADT and SRAT, larger ones the long structures for x2APIC ids.
// 255 is one of the latter: it is the broadcast id in xAPIC mode, and Linux ignores a short structure with
// it.
inline constexpr std::uint32_t max_short_apic_id = 254;

// The first vCPU of the plan is the BSP. Where there are ids above max_short_apic_id it has to be in x2APIC
// mode when the guest's kernel gets control, as firmware would leave it: Linux in xAPIC mode says "x2apic
// entry ignored" for each of them.
[[nodiscard]] Bytes madt(const topology::Plan& plan, const Hardware& hardware);

} // namespace nestbed::acpi
