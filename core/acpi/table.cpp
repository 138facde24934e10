#include "core/acpi/table.hpp"

#include <numeric>

namespace nestbed::acpi {

namespace {

constexpr std::size_t checksum_offset = 9;

} // namespace

std::byte checksum(std::span<const std::byte> bytes) {
    const auto sum = std::accumulate(bytes.begin(), bytes.end(), 0U, [](unsigned so_far, std::byte byte) {
        return so_far + std::to_integer<unsigned>(byte);
    });
    return static_cast<std::byte>(0U - sum);
}

Bytes table(std::string_view signature, std::uint8_t revision, std::span<const std::byte> body) {
    auto bytes = Writer{}
                     .text(signature)
                     .u32(static_cast<std::uint32_t>(header_bytes + body.size()))
                     .u8(revision)
                     .u8(0) // the checksum
                     .text(oem_id)
                     .text(oem_table_id)
                     .u32(1) // OEM revision
                     .text(creator_id)
                     .u32(1) // creator revision
                     .bytes(body)
                     .take();
    bytes[checksum_offset] = checksum(bytes);
    return bytes;
}

} // namespace nestbed::acpi
