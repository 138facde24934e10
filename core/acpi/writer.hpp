// Bytes in the order that ACPI wants them: little-endian, packed (ACPI 6.3, 5.2 "ACPI System Description
// Tables").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace nestbed::acpi {

using Bytes = std::vector<std::byte>;

class Writer {
public:
    Writer& u8(std::uint8_t value) { return number(value, 1); }
    Writer& u16(std::uint16_t value) { return number(value, 2); }
    Writer& u32(std::uint32_t value) { return number(value, 4); }
    Writer& u64(std::uint64_t value) { return number(value, 8); }

    Writer& zeros(std::size_t count) {
        _bytes.resize(_bytes.size() + count);
        return *this;
    }

    Writer& text(std::string_view characters) {
        for (const char character : characters)
            _bytes.push_back(static_cast<std::byte>(character));
        return *this;
    }

    Writer& bytes(std::span<const std::byte> more) {
        _bytes.insert(_bytes.end(), more.begin(), more.end());
        return *this;
    }

    [[nodiscard]] std::size_t size() const { return _bytes.size(); }
    [[nodiscard]] Bytes take() { return std::exchange(_bytes, {}); }

private:
    Writer& number(std::uint64_t value, unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            _bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
        return *this;
    }

    Bytes _bytes;
};

} // namespace nestbed::acpi
