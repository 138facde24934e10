#include "core/acpi/tables.hpp"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/acpi/dsdt.hpp"
#include "core/acpi/fadt.hpp"
#include "core/acpi/madt.hpp"
#include "core/acpi/numa.hpp"
#include "core/acpi/table.hpp"
#include "core/wire/layout.hpp"

namespace nestbed::acpi {

namespace {

constexpr std::uint64_t boot_loader_bytes = 2 * MiB;

// ACPI asks for none but the FACS's. Guests have seen nothing less from firmware, and a dump is easier to
// read.
constexpr std::uint64_t table_alignment = 16;

Bytes xsdt(std::span<const std::uint64_t> addresses) {
    constexpr std::uint8_t xsdt_revision = 1;
    Writer body;
    for (const auto address : addresses)
        body.u64(address);
    return table("XSDT", xsdt_revision, body.take());
}

// 5.2.5.3: the first checksum covers what ACPI 1.0 had, the second all. There is no RSDT.
Bytes rsdp(std::uint64_t xsdt_address) {
    constexpr std::size_t acpi_1_bytes = 20;
    constexpr std::size_t checksum_offset = 8;
    constexpr std::size_t extended_checksum_offset = 32;
    constexpr std::uint32_t rsdp_bytes = 36;
    auto bytes = Writer{}
                     .text("RSD PTR ")
                     .u8(0)
                     .text(oem_id)
                     .u8(2)  // revision
                     .u32(0) // RsdtAddress
                     .u32(rsdp_bytes)
                     .u64(xsdt_address)
                     .zeros(4) // extended checksum, reserved
                     .take();
    bytes[checksum_offset] = checksum(std::span{bytes}.first(acpi_1_bytes));
    bytes[extended_checksum_offset] = checksum(bytes);
    return bytes;
}

// The tables one behind the other; `address` is where the first of them will be.
class Pile {
public:
    explicit Pile(std::uint64_t address) : _address{address} {}

    // The guest physical address that it got.
    std::uint64_t put(const Bytes& table) {
        const auto offset = round_up(_out.size(), table_alignment);
        _out.zeros(offset - _out.size()).bytes(table);
        return _address + offset;
    }

    [[nodiscard]] Bytes take(std::uint64_t bytes) { return _out.zeros(bytes - _out.size()).take(); }
    [[nodiscard]] std::uint64_t size() const { return _out.size(); }

private:
    std::uint64_t _address;
    Writer _out;
};

} // namespace

Result<boot::Extent> place(std::span<const boot::RamRange> ram, std::uint64_t bytes) {
    bytes = round_up(bytes, wire::page_bytes);
    const auto end = ram.empty() || ram.front().address != 0 ? 0 : ram.front().end();
    const auto last_page = end / wire::page_bytes * wire::page_bytes;
    if (last_page < boot_loader_bytes || last_page - boot_loader_bytes < bytes)
        return fail(ErrorKind::bad_input, fmt::format("place {} of ACPI tables", format_size(bytes)),
                    fmt::format("the first range of RAM ends at {}", format_size(end)), "use more --memory");
    return boot::Extent{last_page - bytes, bytes};
}

Result<Tables> build(const topology::Plan& plan, std::span<const boot::RamRange> ram,
                     const Hardware& hardware) {
    if (auto status = check(hardware); !status)
        return tl::unexpected{status.error()};

    // Addresses depend on sizes and some content on addresses, but no size on an address.
    const auto pile = [&](std::uint64_t address) {
        Pile tables{address};
        const auto dsdt_address = tables.put(dsdt(hardware));
        const std::array addresses{
            tables.put(fadt(hardware, static_cast<std::uint32_t>(dsdt_address))),
            tables.put(madt(plan, hardware)),
            tables.put(srat(plan, ram)),
            tables.put(slit(plan)),
        };
        return std::pair{tables.put(xsdt(addresses)), std::move(tables)};
    };
    const auto where = place(ram, pile(0).second.size());
    if (!where)
        return tl::unexpected{where.error()};
    auto [xsdt_address, tables] = pile(where->address);
    return Tables{.rsdp = {rsdp_address, rsdp(xsdt_address)},
                  .tables = {where->address, tables.take(where->bytes)}};
}

} // namespace nestbed::acpi
