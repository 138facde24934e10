#include "core/acpi/aml.hpp"

#include <algorithm>
#include <cctype>
#include <limits>

namespace nestbed::acpi::aml {

namespace {

// 20.3 "AML Byte Stream Byte Values".
constexpr std::uint8_t zero_op = 0x00;
constexpr std::uint8_t one_op = 0x01;
constexpr std::uint8_t name_op = 0x08;
constexpr std::uint8_t byte_prefix = 0x0a;
constexpr std::uint8_t word_prefix = 0x0b;
constexpr std::uint8_t dword_prefix = 0x0c;
constexpr std::uint8_t string_prefix = 0x0d;
constexpr std::uint8_t qword_prefix = 0x0e;
constexpr std::uint8_t scope_op = 0x10;
constexpr std::uint8_t buffer_op = 0x11;
constexpr std::uint8_t package_op = 0x12;
constexpr std::uint8_t dual_name_prefix = 0x2e;
constexpr std::uint8_t multi_name_prefix = 0x2f;
constexpr std::uint8_t extended_op_prefix = 0x5b;
constexpr std::uint8_t device_op = 0x82;

// 6.4.2 and 6.4.3: a small item's tag holds its length, a large one's is followed by it.
constexpr std::uint8_t io_port_tag = 0x47;
constexpr std::uint8_t end_tag = 0x79;
constexpr std::uint8_t memory32_fixed_tag = 0x86;
constexpr std::uint8_t extended_interrupt_tag = 0x89;

Bytes joined(std::initializer_list<Bytes> parts) {
    Writer out;
    for (const auto& part : parts)
        out.bytes(part);
    return out.take();
}

Bytes with_length(const Bytes& content) {
    return joined({package_length(content.size()), content});
}

std::uint32_t hexadecimal_digit(char digit) {
    return static_cast<std::uint32_t>(digit <= '9' ? digit - '0' : std::toupper(digit) - 'A' + 10);
}

} // namespace

Bytes package_length(std::size_t bytes) {
    // One byte holds six bits of length. Otherwise its low nibble has the lowest four, and bits 7:6 say how
    // many bytes of eight more follow.
    if (bytes + 1 <= 0x3f)
        return Writer{}.u8(static_cast<std::uint8_t>(bytes + 1)).take();
    unsigned more = 1;
    while ((bytes + 1 + more) >> (4 + 8 * more) != 0)
        ++more;
    const auto length = bytes + 1 + more;
    Writer out;
    out.u8(static_cast<std::uint8_t>(more << 6 | (length & 0xf)));
    for (unsigned i = 0; i < more; ++i)
        out.u8(static_cast<std::uint8_t>(length >> (4 + 8 * i)));
    return out.take();
}

Bytes name_string(std::string_view path) {
    Writer out;
    if (path.starts_with('\\')) {
        out.text("\\");
        path.remove_prefix(1);
    }
    std::uint8_t segments = 0;
    Writer encoded;
    while (!path.empty()) {
        const auto segment = path.substr(0, path.find('.'));
        encoded.text(segment).text(std::string_view{"____"}.substr(segment.size()));
        path.remove_prefix(std::min(path.size(), segment.size() + 1));
        ++segments;
    }
    if (segments == 2)
        out.u8(dual_name_prefix);
    else if (segments > 2)
        out.u8(multi_name_prefix).u8(segments);
    return out.bytes(encoded.take()).take();
}

Bytes integer(std::uint64_t value) {
    if (value <= 1)
        return Writer{}.u8(value == 0 ? zero_op : one_op).take();
    if (value <= std::numeric_limits<std::uint8_t>::max())
        return Writer{}.u8(byte_prefix).u8(static_cast<std::uint8_t>(value)).take();
    if (value <= std::numeric_limits<std::uint16_t>::max())
        return Writer{}.u8(word_prefix).u16(static_cast<std::uint16_t>(value)).take();
    if (value <= std::numeric_limits<std::uint32_t>::max())
        return Writer{}.u8(dword_prefix).u32(static_cast<std::uint32_t>(value)).take();
    return Writer{}.u8(qword_prefix).u64(value).take();
}

Bytes string(std::string_view ascii) {
    return Writer{}.u8(string_prefix).text(ascii).u8(0).take();
}

Bytes eisa_id(std::string_view id) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 3; ++i)
        value = value << 5 | (static_cast<std::uint32_t>(id[i] - 'A') + 1);
    for (std::size_t i = 3; i < 7; ++i)
        value = value << 4 | hexadecimal_digit(id[i]);
    // The bytes are stored with the highest first, and never in a shorter form.
    return Writer{}.u8(dword_prefix).u32(__builtin_bswap32(value)).take();
}

Bytes name(std::string_view path, const Bytes& value) {
    return Writer{}.u8(name_op).bytes(name_string(path)).bytes(value).take();
}

Bytes scope(std::string_view path, const Bytes& terms) {
    return Writer{}.u8(scope_op).bytes(with_length(joined({name_string(path), terms}))).take();
}

Bytes device(std::string_view path, const Bytes& terms) {
    return Writer{}
        .u8(extended_op_prefix)
        .u8(device_op)
        .bytes(with_length(joined({name_string(path), terms})))
        .take();
}

Bytes package(std::initializer_list<Bytes> elements) {
    Writer content;
    content.u8(static_cast<std::uint8_t>(elements.size())).bytes(joined(elements));
    return Writer{}.u8(package_op).bytes(with_length(content.take())).take();
}

Bytes resource_template(std::initializer_list<Bytes> descriptors) {
    Writer content;
    content.bytes(joined(descriptors)).u8(end_tag).u8(0); // 6.4.2.9: a checksum of zero counts as right
    const auto bytes = content.take();
    return Writer{}.u8(buffer_op).bytes(with_length(joined({integer(bytes.size()), bytes}))).take();
}

Bytes io_ports(std::uint16_t first, std::uint8_t count) {
    return Writer{}.u8(io_port_tag).u8(1).u16(first).u16(first).u8(1).u8(count).take();
}

Bytes memory32_fixed(std::uint32_t address, std::uint32_t bytes) {
    return Writer{}.u8(memory32_fixed_tag).u16(9).u8(1).u32(address).u32(bytes).take();
}

Bytes edge_interrupt(std::uint32_t gsi) {
    constexpr std::uint8_t consumer_edge_high_exclusive = 0b0011;
    return Writer{}.u8(extended_interrupt_tag).u16(6).u8(consumer_edge_high_exclusive).u8(1).u32(gsi).take();
}

} // namespace nestbed::acpi::aml
