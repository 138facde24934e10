// The emulated Intel machine: what Bochs is given to start.
//
// It has no firmware and no disk. One file is its memory, with the kernel where that wants to be; a ROM of
// ours enters it as Xen's PVH protocol says (xen/include/public/arch-x86/hvm/start_info.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "lab/shape.hpp"

namespace nestbed::lab {

// Names in the folder that Bochs runs in, so that no path has to be quoted in its configuration.
inline constexpr const char* bochs_rom_file = "rom.bin";
inline constexpr const char* bochs_video_rom_file = "video.bin";
inline constexpr const char* bochs_memory_file = "memory.bin";
inline constexpr const char* bochs_config_file = "bochsrc";
inline constexpr const char* bochs_debugger_file = "debugger"; // commands for the debugger, which is built in

// 64 KiB, for the end of the first 4 GiB: the processor starts 16 bytes before that.
[[nodiscard]] std::string bochs_rom();

// An option ROM for the display that does nothing. Nothing runs it, but Bochs does not start without one, and
// its default comes with a package that need not be there.
[[nodiscard]] std::string bochs_video_rom();

// The memory from 1 MiB on: what the ROM and the kernel read of their start, then the kernel; the initramfs
// is to follow it. Errors: bad_input where `vmlinux` has no PVH entry or lies where it cannot be loaded, or
// where memory does not suffice.
[[nodiscard]] Result<std::string> bochs_memory(std::span<const std::byte> vmlinux,
                                               std::uint64_t initramfs_bytes, std::uint64_t memory_bytes,
                                               std::string_view command_line);

// The descriptors are numbers in Bochs: of a terminal for ttyS0, of a pipe for ttyS1. The shape has passed
// check_shape().
[[nodiscard]] std::string bochs_config(const Shape& shape, int console_fd, int frames_fd);

// The whole command line, `bochs` first.
[[nodiscard]] std::vector<std::string> bochs_command(const std::filesystem::path& bochs);

} // namespace nestbed::lab
