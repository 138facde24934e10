// The ACPI tables of a guest, as the bytes that go into its memory.
//
// Linux maps each of them through 64 pages while it boots (NR_FIX_BTMAPS), which is enough for 10,000 vCPUs
// in an SRAT and for 500 nodes in a SLIT.
//
// A PPTT is not among them: Linux on x86 does not read it, and CPUID says which vCPUs share what.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "core/acpi/hardware.hpp"
#include "core/acpi/writer.hpp"
#include "core/boot/placement.hpp"
#include "core/boot/ram.hpp"
#include "topology/plan.hpp"

namespace nestbed::acpi {

// ACPI 6.3, 5.2.5.1: a guest whose boot protocol does not name the RSDP looks for it from here to 1 MiB, in
// steps of 16 bytes. That is no RAM for the guest (its E820 map leaves the legacy area out).
inline constexpr std::uint64_t rsdp_address = 0xe'0000;

struct Blob {
    std::uint64_t address = 0; // guest physical
    Bytes bytes;

    [[nodiscard]] boot::Extent extent() const { return {address, bytes.size()}; }
};

struct Tables {
    Blob rsdp;
    // All others. Whole pages, to be AddressRangeACPI (type 3) in the E820 map: MADT and SRAT of 4096 vCPUs
    // do not fit below 1 MiB, so no guest has them there.
    Blob tables;
};

// `bytes`, rounded up to pages, at the end of the lowest range of RAM, which is below 4 GiB. Errors:
// bad_input where that range has no such room above the first 2 MiB, which are the boot loader's.
[[nodiscard]] Result<boot::Extent> place(std::span<const boot::RamRange> ram, std::uint64_t bytes);

// Deterministic. `ram` is what ram_ranges() makes of the plan. Errors: those of place() and of
// check(const Hardware&).
[[nodiscard]] Result<Tables> build(const topology::Plan& plan, std::span<const boot::RamRange> ram,
                                   const Hardware& hardware);

} // namespace nestbed::acpi
