// The least that passes for a bzImage and for a kernel module.
#pragma once

#include <cstdint>
#include <string>

namespace nestbed::test {

// `version` as the kernel has it: release, blank, the rest.
[[nodiscard]] std::string kernel_image(const std::string& version);

// The same with `payload` where a compressed vmlinux is.
[[nodiscard]] std::string kernel_image_with(const std::string& version, const std::string& payload);

// A vmlinux with one note of this owner and type.
[[nodiscard]] std::string vmlinux_with_note(const std::string& owner, std::uint32_t type);

// A vmlinux with `bytes` to be loaded at `address`, and entered at `entry` by PVH.
[[nodiscard]] std::string vmlinux_to_boot(std::uint64_t address, const std::string& bytes,
                                          std::uint64_t entry);

// An ELF object whose .modinfo has these two fields.
[[nodiscard]] std::string kernel_module(const std::string& depends, const std::string& release);

} // namespace nestbed::test
