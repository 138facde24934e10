#include "core/boot/kernel_image.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace nestbed::boot {

namespace {

// boot.rst, "The Real-Mode Kernel Header": magic at 0x202, offset of the version string less 0x200 at 0x20e.
constexpr std::size_t magic_offset = 0x202;
constexpr std::size_t version_offset = 0x20e;
constexpr std::size_t version_base = 0x200;
constexpr std::size_t header_end = 0x210;
constexpr std::size_t setup_sectors_offset = 0x1f1;
constexpr std::size_t protocol_offset = 0x206;
constexpr std::size_t payload_offset = 0x248; // since protocol 2.08, as is its length
constexpr std::size_t payload_length = 0x24c;
constexpr std::uint16_t protocol_with_payload = 0x208;
constexpr std::size_t sector = 512;
constexpr std::size_t max_release = 64; // __NEW_UTS_LEN

tl::unexpected<Error> refuse(std::string why) {
    return fail(ErrorKind::bad_input, "read the kernel image", std::move(why),
                "name a bzImage: arch/x86/boot/bzImage of a build, or /boot/vmlinuz-VERSION");
}

template<typename T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
    T value{};
    std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
    return value;
}

} // namespace

Result<std::string> kernel_release(std::span<const std::byte> image) {
    const std::string_view bytes{reinterpret_cast<const char*>(image.data()), image.size()};
    if (bytes.size() < header_end || bytes.substr(magic_offset, 4) != "HdrS")
        return refuse(bytes.starts_with("\x7f"
                                        "ELF")
                          ? "it is an ELF image (vmlinux), not a bzImage"
                          : "no \"HdrS\" at 0x202, so it is no bzImage");
    const auto at =
        version_base + static_cast<std::size_t>(std::to_integer<unsigned>(image[version_offset]) |
                                                std::to_integer<unsigned>(image[version_offset + 1]) << 8U);
    if (at == version_base || at >= bytes.size())
        return refuse("it names no version");
    const auto text = bytes.substr(at, max_release + 1);
    const auto end = std::find_if(text.begin(), text.end(),
                                  [](char c) { return std::isgraph(static_cast<unsigned char>(c)) == 0; });
    if (end == text.begin() || end == text.end())
        return refuse("its version is no text");
    return std::string{text.begin(), end};
}

Result<std::span<const std::byte>> compressed_vmlinux(std::span<const std::byte> image) {
    if (image.size() < payload_length + sizeof(std::uint32_t) ||
        read_at<std::uint16_t>(image, protocol_offset) < protocol_with_payload)
        return refuse("it does not say where its payload is (boot protocol 2.08)");
    const std::size_t setup_sectors = read_at<std::uint8_t>(image, setup_sectors_offset);
    // Zero stands for four, for the sake of very old kernels; the boot sector is not counted.
    const auto code = ((setup_sectors == 0 ? 4 : setup_sectors) + 1) * sector;
    const auto start = code + read_at<std::uint32_t>(image, payload_offset);
    const std::size_t bytes = read_at<std::uint32_t>(image, payload_length);
    if (bytes == 0 || start > image.size() || bytes > image.size() - start)
        return refuse("its payload is not within it");
    const auto payload = image.subspan(start, bytes);
    // The uncompressed size comes last, 4 bytes. In gzip they are part of the format, elsewhere appended, and
    // what they look like to a decompressor is chance.
    const bool is_gzip = bytes > 2 && payload[0] == std::byte{0x1f} && payload[1] == std::byte{0x8b};
    return is_gzip || bytes <= 4 ? payload : payload.first(bytes - 4);
}

} // namespace nestbed::boot
