#include "core/boot/linux64.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include <asm/bootparam.h>
#include <fmt/format.h>

#include "base/units.hpp"
#include "core/boot/foreign_builder.hpp"
#include "core/boot/page_tables.hpp"

namespace nestbed::boot {

namespace {

constexpr std::size_t header_offset = offsetof(boot_params, hdr); // 0x1f1, in the image too
constexpr std::size_t header_limit = offsetof(boot_params, edd_mbr_sig_buffer);
constexpr std::size_t jump_offset = 0x201; // its operand tells the header's end
constexpr std::size_t jump_base = 0x202;
constexpr std::uint16_t oldest = 0x20c; // xloadflags, and the upper halves of the initrd's address
constexpr std::size_t sector = 512;
constexpr std::uint64_t entry_offset = 0x200; // startup_64
constexpr std::uint8_t no_loader_of_the_list = 0xff;
constexpr std::uint16_t boot_code = 0x10; // __BOOT_CS, __BOOT_DS
constexpr std::uint16_t boot_data = 0x18;

tl::unexpected<Error> refuse(std::string found, std::string remedy = {}) {
    return fail(ErrorKind::bad_input, "load the Linux kernel", std::move(found), std::move(remedy));
}

// What the header says, checked as far as it can be without knowing the memory.
struct Kernel {
    boot_params params{};            // with nothing but the image's header
    std::span<const std::byte> code; // what follows the real-mode part
    std::uint64_t bytes = 0;         // of memory from its address on, until it has its own map of memory
    std::uint64_t alignment = 0;
};

Result<Kernel> read_kernel(std::span<const std::byte> image) {
    if (!is_bzimage(image))
        return refuse("no \"HdrS\" at 0x202, so it is no bzImage");
    if (image.size() < header_limit)
        return refuse(fmt::format("{} bytes, and the header alone may take {}", image.size(), header_limit));
    const auto end = jump_base + std::to_integer<std::size_t>(image[jump_offset]);
    if (end < header_offset + offsetof(setup_header, handover_offset) || end > header_limit)
        return refuse(fmt::format("its header ends at {:#x}, neither after init_size nor before {:#x}", end,
                                  header_limit),
                      "boot protocol 2.12 (Linux 3.8) is the oldest with a 64-bit entry");
    Kernel kernel;
    std::memcpy(reinterpret_cast<std::byte*>(&kernel.params) + header_offset, image.data() + header_offset,
                end - header_offset);
    const auto& header = kernel.params.hdr;
    const std::uint16_t version = header.version;
    if (version < oldest)
        return refuse(fmt::format("boot protocol {}.{:02}, 2.12 is the oldest with a 64-bit entry",
                                  version >> 8, version & 0xff),
                      "use Linux 3.8 or newer");
    if ((header.xloadflags & XLF_KERNEL_64) == 0)
        return refuse("it is a 32-bit kernel (XLF_KERNEL_64 is clear)", "use a kernel with CONFIG_64BIT=y");

    // Zero stands for four, for the sake of very old kernels; the boot sector is not counted.
    const auto start = (std::uint64_t{header.setup_sects == 0 ? 4U : header.setup_sects} + 1) * sector;
    const auto bytes = std::uint64_t{header.syssize} * 16;
    // The size is in units of 16 bytes, the file need not be.
    if (start >= image.size() || bytes > round_up(image.size() - start, 16))
        return refuse(fmt::format("{} bytes, and it is to have {} and {}", image.size(), start, bytes),
                      "the file is cut short");
    if (bytes <= entry_offset)
        return refuse(fmt::format("its code has {} bytes", bytes));
    kernel.code = image.subspan(start, std::min(bytes, image.size() - start));
    kernel.bytes = std::max<std::uint64_t>(header.init_size, bytes);
    kernel.alignment = header.kernel_alignment;
    if (!std::has_single_bit(kernel.alignment))
        return refuse(fmt::format("its alignment is {:#x}, no power of two", kernel.alignment));
    return kernel;
}

// A kernel that can be moved is never run below pref_address, wherever it is loaded.
Result<std::uint64_t> place_kernel(ForeignBuilder& builder, const Kernel& kernel) {
    const std::uint64_t preferred = kernel.params.hdr.pref_address;
    if (kernel.params.hdr.relocatable_kernel == 0 || builder.is_free({preferred, kernel.bytes})) {
        if (kernel.bytes > below_4g.end || preferred > below_4g.end - kernel.bytes)
            return refuse(fmt::format("it wants {:#x} bytes at {:#x}, above 4 GiB", kernel.bytes, preferred));
        return builder.put_at(preferred, kernel.bytes, kernel.code, "the kernel").map([&] {
            return preferred;
        });
    }
    auto address = builder.reserve(
        kernel.bytes, {{std::max(preferred, std::uint64_t{MiB}), below_4g.end}, kernel.alignment},
        "the kernel, unpacked");
    if (address)
        builder.view(*address, kernel.code);
    return address;
}

Result<std::uint64_t> place_initrd(ForeignBuilder& builder, const Kernel& kernel,
                                   std::span<const std::byte> initrd) {
    Place place{{MiB, std::uint64_t{kernel.params.hdr.initrd_addr_max} + 1}, 4 * KiB, true};
    auto address = builder.put(initrd, place, "the initrd");
    if (address || (kernel.params.hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) == 0)
        return address;
    place.window.end = ~std::uint64_t{0};
    return builder.put(initrd, place, "the initrd");
}

void fill_e820(boot_params& params, std::span<const E820Entry> map) {
    const auto here = std::min<std::size_t>(map.size(), E820_MAX_ENTRIES_ZEROPAGE);
    for (std::size_t i = 0; i < here; ++i)
        params.e820_table[i] = {map[i].address, map[i].bytes, static_cast<std::uint32_t>(map[i].type)};
    params.e820_entries = static_cast<std::uint8_t>(here);
}

// The entries that the zero page has no room for, as setup_data of type SETUP_E820_EXT.
std::vector<std::byte> further_e820(std::span<const E820Entry> map) {
    // struct setup_data without its trailing array, which is not C++.
    struct {
        std::uint64_t next;
        std::uint32_t type;
        std::uint32_t length;
    } head{0, SETUP_E820_EXT, 0};
    const auto rest = map.subspan(E820_MAX_ENTRIES_ZEROPAGE);
    std::vector<std::byte> data(sizeof head + rest.size() * sizeof(boot_e820_entry));
    head.length = static_cast<std::uint32_t>(data.size() - sizeof head);
    std::memcpy(data.data(), &head, sizeof head);
    for (std::size_t i = 0; i < rest.size(); ++i) {
        const boot_e820_entry entry{rest[i].address, rest[i].bytes, static_cast<std::uint32_t>(rest[i].type)};
        std::memcpy(data.data() + sizeof head + i * sizeof entry, &entry, sizeof entry);
    }
    return data;
}

constexpr std::uint32_t low_half(std::uint64_t address) {
    return static_cast<std::uint32_t>(address);
}
constexpr std::uint32_t high_half(std::uint64_t address) {
    return static_cast<std::uint32_t>(address >> 32);
}

} // namespace

bool is_bzimage(std::span<const std::byte> image) {
    constexpr std::string_view magic = "HdrS";
    return image.size() >= jump_base + magic.size() &&
           std::memcmp(image.data() + jump_base, magic.data(), magic.size()) == 0;
}

Result<ForeignBoot> load_linux64(const ForeignInput& input) {
    const auto kernel = read_kernel(input.image);
    if (!kernel)
        return tl::unexpected{kernel.error()};
    if (input.command_line.size() > kernel->params.hdr.cmdline_size)
        return refuse(fmt::format("a command line of {} bytes, and it takes {}", input.command_line.size(),
                                  std::uint32_t{kernel->params.hdr.cmdline_size}),
                      "shorten --append");

    ForeignBuilder builder{input};
    const auto code = place_kernel(builder, *kernel);
    if (!code)
        return tl::unexpected{code.error()};
    auto params = kernel->params;
    params.hdr.type_of_loader = no_loader_of_the_list;
    params.acpi_rsdp_addr = input.rsdp;
    fill_e820(params, input.e820);

    if (!input.initrd.empty()) {
        const auto initrd = place_initrd(builder, *kernel, input.initrd);
        if (!initrd)
            return tl::unexpected{initrd.error()};
        params.hdr.ramdisk_image = low_half(*initrd);
        params.ext_ramdisk_image = high_half(*initrd);
        params.hdr.ramdisk_size = low_half(input.initrd.size());
        params.ext_ramdisk_size = high_half(input.initrd.size());
    }
    if (input.e820.size() > E820_MAX_ENTRIES_ZEROPAGE) {
        const auto more = builder.put_made(further_e820(input.e820), {below_4g, 8}, "the memory map");
        if (!more)
            return tl::unexpected{more.error()};
        params.hdr.setup_data = *more;
    }
    const auto text = builder.put_text(input.command_line, {below_4g}, "the command line");
    if (!text)
        return tl::unexpected{text.error()};
    params.hdr.cmd_line_ptr = low_half(*text);

    // "Both descriptors must be 4G flat segment". The limit of a 64-bit code segment is not looked at.
    const std::vector<std::uint64_t> gdt{0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff};
    const auto descriptors = builder.put_made(bytes_of(gdt), {below_4g, 8}, "the GDT");
    if (!descriptors)
        return tl::unexpected{descriptors.error()};
    const auto zero_page = builder.put_made(bytes_of(params), {below_4g, 4 * KiB}, "boot_params");
    if (!zero_page)
        return tl::unexpected{zero_page.error()};
    // All that the kernel is entered with lies below 4 GiB; what is above, it maps itself.
    const auto root =
        builder.reserve(identity_map_bytes(below_4g.end, false), {below_4g, 4 * KiB}, "page tables");
    if (!root)
        return tl::unexpected{root.error()};
    builder.write_made(*root, bytes_of(identity_map(*root, below_4g.end, false).entries));

    const std::uint16_t version = kernel->params.hdr.version;
    return std::move(builder).finish(
        fmt::format("Linux 64-bit boot protocol {}.{:02}", version >> 8, version & 0xff),
        {.mode = EntryMode::long_mode,
         .rip = *code + entry_offset,
         .rsi = *zero_page,
         .cr3 = *root,
         .gdt = {*descriptors, gdt.size() * sizeof gdt[0]},
         .code_selector = boot_code,
         .data_selector = boot_data});
}

} // namespace nestbed::boot
