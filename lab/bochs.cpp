#include "lab/bochs.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/boot/elf.hpp"
#include "core/boot/pvh.hpp"

extern "C" const char bochs_rom_start[];
extern "C" const char bochs_rom_end[];

namespace nestbed::lab {

namespace {

constexpr std::size_t rom_bytes = 64 * KiB;
constexpr std::size_t reset_vector = rom_bytes - 16;
constexpr std::uint64_t memory_start = MiB;     // bochs_rom.S knows it
constexpr std::uint64_t low_memory = 640 * KiB; // then come video memory and ROMs

struct BootPage {
    std::uint32_t entry = 0;
    std::uint32_t end = 0; // of all that is loaded
    boot::HvmStartInfo start;
    std::array<boot::HvmMemoryRange, 2> ranges;
    boot::HvmModule module;
    // The command line follows.
};
static_assert(offsetof(BootPage, start) == 8, "bochs_rom.S adds it");
static_assert(sizeof(BootPage) == 144);

} // namespace

std::string bochs_rom() {
    std::string rom(rom_bytes, '\0');
    std::copy(bochs_rom_start, bochs_rom_end, rom.begin());
    rom.replace(reset_vector, 3, "\xe9\x0d\x00", 3); // jmp to offset 0: 16 bits wrap around
    return rom;
}

std::string bochs_video_rom() {
    std::string rom(512, '\0');
    // BIOS Boot Specification, "option ROM headers": the signature, the length in blocks of 512 bytes, the
    // entry (a far return); all bytes together are 0.
    rom.replace(0, 4, "\x55\xaa\x01\xcb");
    const auto sum = std::accumulate(rom.begin(), rom.end(), 0U, [](unsigned so_far, char byte) {
        return so_far + static_cast<unsigned char>(byte);
    });
    rom.back() = static_cast<char>(-sum);
    return rom;
}

Result<std::string> bochs_memory(std::span<const std::byte> vmlinux, std::uint64_t initramfs_bytes,
                                 std::uint64_t memory_bytes, std::string_view command_line) {
    const auto refuse = [](std::string found, std::string remedy) {
        return fail(ErrorKind::bad_input, "start the kernel in an emulated Intel machine", std::move(found),
                    std::move(remedy));
    };
    const auto entry = boot::pvh_entry(vmlinux);
    const auto kernel = boot::parse_elf64(vmlinux);
    if (!entry || !kernel || kernel->segments.empty())
        return refuse("it has no PVH entry, or is compressed in a way that is not known here",
                      "use a kernel with CONFIG_PVH=y");
    const auto first = std::ranges::min(kernel->segments, {}, &boot::Segment::address).address;
    const auto head_bytes = sizeof(BootPage) + command_line.size() + 1;
    if (first < memory_start + head_bytes || *entry < first || *entry >= kernel->end())
        return refuse(fmt::format("it lies at {:#x} and is entered at {:#x}", first, *entry),
                      "use a kernel with CONFIG_PHYSICAL_START of 2 MiB or more");
    const auto initramfs = round_up(std::min(kernel->end(), memory_bytes), 4 * KiB);
    // Twice, for it is unpacked.
    if (initramfs >= memory_bytes || initramfs_bytes > (memory_bytes - initramfs) / 2)
        return refuse(fmt::format("{} of memory do not hold it and {} of initramfs, packed and unpacked",
                                  format_size(memory_bytes), format_size(initramfs_bytes)),
                      "use a larger --memory");

    BootPage page{
        .entry = static_cast<std::uint32_t>(*entry),
        .end = static_cast<std::uint32_t>(initramfs + initramfs_bytes),
        .start = {},
        .ranges = {boot::HvmMemoryRange{.address = 0, .bytes = low_memory},
                   boot::HvmMemoryRange{.address = memory_start, .bytes = memory_bytes - memory_start}},
        .module = {.address = initramfs, .bytes = initramfs_bytes}};
    page.start.modules = 1;
    page.start.module_list = memory_start + offsetof(BootPage, module);
    page.start.command_line = memory_start + sizeof page;
    page.start.memory_map = memory_start + offsetof(BootPage, ranges);
    page.start.memory_ranges = static_cast<std::uint32_t>(page.ranges.size());
    std::string memory(initramfs - memory_start, '\0');
    std::memcpy(memory.data(), &page, sizeof page);
    command_line.copy(memory.data() + sizeof page, command_line.size());
    for (const auto& segment : kernel->segments)
        std::memcpy(memory.data() + (segment.address - memory_start), segment.data.data(),
                    segment.data.size());
    return memory;
}

std::string bochs_config(const Shape& shape, int console_fd, int frames_fd) {
    // The newest models have faults that keep KVM from working; this one has EPT, VPID and unrestricted
    // guests. A file is written to without loss, but not read from; a terminal is both, and loses what nobody
    // fetches: so the kernel's console is the one, and what must not be lost goes the other way.
    return fmt::format("cpu: model=corei7_haswell_4770, count=1, ips=80000000, reset_on_triple_fault=0\n"
                       "memory: guest={0}, host={0}\n"
                       "romimage: file={1}\n"
                       "vgaromimage: file={2}\n"
                       "optramimage1: file={3}, address={4:#x}\n"
                       "com1: enabled=1, mode=term, dev=/dev/fd/{5}\n"
                       "com2: enabled=1, mode=file, dev=/dev/fd/{6}\n"
                       "display_library: term\n"
                       "clock: sync=none, time0=utc\n"
                       "pci: enabled=0\n"
                       "plugin_ctrl: unmapped=1, speaker=0\n"
                       "boot: disk\n"
                       "log: /dev/null\n"
                       "panic: action=fatal\n"
                       "error: action=ignore\n"
                       "info: action=ignore\n"
                       "debug: action=ignore\n",
                       shape.memory_bytes / MiB, bochs_rom_file, bochs_video_rom_file, bochs_memory_file,
                       memory_start, console_fd, frames_fd);
}

std::vector<std::string> bochs_command(const std::filesystem::path& bochs) {
    return {bochs.string(), "-q", "-f", bochs_config_file, "-rc", bochs_debugger_file};
}

} // namespace nestbed::lab
