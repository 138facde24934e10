#include "guest_eye.hpp"

#include <stdexcept>

namespace nestbed::acpi::test {

namespace {

Bytes memory_at(const Tables& guest, std::uint64_t address, std::size_t bytes) {
    for (const auto* blob : {&guest.rsdp, &guest.tables})
        if (address >= blob->address && bytes <= blob->bytes.size() &&
            address - blob->address <= blob->bytes.size() - bytes) {
            const auto start = blob->bytes.begin() + static_cast<std::ptrdiff_t>(address - blob->address);
            return {start, start + static_cast<std::ptrdiff_t>(bytes)};
        }
    throw std::runtime_error{"the guest has nothing at " + std::to_string(address)};
}

SeenTable table_at(const Tables& guest, std::uint64_t address) {
    const auto length = number(memory_at(guest, address, 36), 4, 4);
    if (length < 36)
        throw std::runtime_error{"a table is shorter than its header"};
    SeenTable table{address, memory_at(guest, address, length)};
    if (sum(table.bytes) != 0)
        throw std::runtime_error{"the sum of " + text(table.bytes, 0, 4) + " is not 0"};
    return table;
}

Bytes find_rsdp(const Tables& guest) {
    for (std::uint64_t address = 0xe'0000; address < 0x10'0000; address += 16) {
        if (address < guest.rsdp.address || address >= guest.rsdp.address + guest.rsdp.bytes.size())
            continue;
        auto rsdp = memory_at(guest, address, 36);
        if (text(rsdp, 0, 8) != "RSD PTR ")
            continue;
        if (sum(std::span{rsdp}.first(20)) != 0 || sum(rsdp) != 0)
            throw std::runtime_error{"a sum of the RSDP is not 0"};
        return rsdp;
    }
    throw std::runtime_error{"no RSDP"};
}

} // namespace

std::uint64_t number(std::span<const std::byte> bytes, std::size_t offset, unsigned width) {
    if (offset > bytes.size() || width > bytes.size() - offset)
        throw std::out_of_range{"offset " + std::to_string(offset) + " is past the end"};
    std::uint64_t value = 0;
    for (unsigned i = width; i-- > 0;)
        value = value << 8 | std::to_integer<std::uint64_t>(bytes[offset + i]);
    return value;
}

std::string text(std::span<const std::byte> bytes, std::size_t offset, std::size_t length) {
    std::string characters;
    for (const auto byte : bytes.subspan(offset, length))
        characters.push_back(static_cast<char>(byte));
    return characters;
}

unsigned sum(std::span<const std::byte> bytes) {
    unsigned total = 0;
    for (const auto byte : bytes)
        total += std::to_integer<unsigned>(byte);
    return total & 0xff;
}

std::map<std::string, SeenTable> find_tables(const Tables& guest) {
    const auto rsdp = find_rsdp(guest);
    if (number(rsdp, 15, 1) != 2 || number(rsdp, 20, 4) != 36)
        throw std::runtime_error{"the RSDP is not of revision 2"};
    if (number(rsdp, 16, 4) != 0 || number(rsdp, 33, 3) != 0)
        throw std::runtime_error{"the RSDP has an RSDT, or something in reserved bytes"};

    std::map<std::string, SeenTable> tables;
    const auto add = [&](const SeenTable& table) {
        if (!tables.emplace(text(table.bytes, 0, 4), table).second)
            throw std::runtime_error{"two tables with one signature"};
    };
    const auto xsdt = table_at(guest, number(rsdp, 24, 8));
    add(xsdt);
    for (std::size_t offset = 36; offset < xsdt.bytes.size(); offset += 8)
        add(table_at(guest, xsdt.at(offset, 8)));
    add(table_at(guest, tables.at("FACP").at(140, 8)));
    return tables;
}

std::vector<SeenEntry> entries(const SeenTable& table, std::size_t first) {
    std::vector<SeenEntry> found;
    for (auto offset = first; offset < table.bytes.size();) {
        const auto length = table.at(offset + 1, 1);
        if (length < 2 || length > table.bytes.size() - offset)
            throw std::runtime_error{"a structure passes the end of its table"};
        const auto start = table.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
        found.push_back({static_cast<unsigned>(table.at(offset, 1)),
                         {start, start + static_cast<std::ptrdiff_t>(length)}});
        offset += length;
    }
    return found;
}

} // namespace nestbed::acpi::test
