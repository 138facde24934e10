#include "lab/kernel_image.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string_view>

namespace nestbed::lab {

namespace {

// boot.rst, "The Real-Mode Kernel Header": magic at 0x202, offset of the version string less 0x200 at 0x20e.
constexpr std::size_t magic_offset = 0x202;
constexpr std::size_t version_offset = 0x20e;
constexpr std::size_t version_base = 0x200;
constexpr std::size_t header_end = 0x210;
constexpr std::size_t max_release = 64; // __NEW_UTS_LEN

tl::unexpected<Error> refuse(std::string why) {
    return fail(ErrorKind::bad_input, "read the kernel image", std::move(why),
                "name a bzImage: arch/x86/boot/bzImage of a build, or /boot/vmlinuz-VERSION");
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

} // namespace nestbed::lab
