// The emulated machine as a value, and QEMU's command line for an AMD one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/units.hpp"
#include "lab/silicon.hpp"

namespace nestbed::lab {

inline constexpr std::uint32_t max_cpus = 255; // TCG's machines have no x2APIC everywhere
inline constexpr std::uint32_t max_nodes = 8;
// Between several CPUs Bochs loses interrupts, and it has no nodes. From 3 GiB on there are devices.
inline constexpr std::uint64_t max_intel_memory = 3 * GiB;

// Two nodes, because placement is what is under test, with one CPU each, because more emulated CPUs than the
// host has to run them make the emulated kernel stall. 2 GiB hold the initramfs twice (packed and unpacked,
// about 100 MiB), and a guest of 1024 vCPUs; the host gives only what is touched. Of more nodes than CPUs the
// last have memory alone.
struct Shape {
    Silicon silicon = Silicon::amd;
    std::uint32_t cpus = 2;
    std::uint32_t nodes = 2;
    std::uint64_t memory_bytes = 2 * GiB;
    std::string cpu_flags = {}; // what the emulated CPU has more or less, in QEMU's terms: "+vgif,-npt"
    Engine engine = Engine::emulator;
};

// Whether the command with these arguments runs hypervisors or Linux for long. On several CPUs of QEMU's TCG
// that goes wrong now and then, whatever VMM runs there: VMRUN with an interrupt to inject finds the guest's
// IDT not present, which ends in a triple fault (seen in VMCBs of nestbed's and lkvm's guests on Linux 6.1
// and QEMU 7.2, why is not known; never seen on one CPU); or the emulated kernel itself stops, which is rare
// on one CPU. VMRUN there does not load INTERRUPT_SHADOW either, so a guest's kernel that a VM exit
// interrupts between STI and HLT sleeps over what it waits for, and the more CPUs there are the more such
// exits.
[[nodiscard]] bool keeps_guests_busy(const std::vector<std::string>& arguments);

// What suits a command whose arguments these are, with as many CPUs and nodes as are asked for: one CPU for
// what keeps guests busy. Of Intel silicon there is not more than one. Where CPUs or nodes alone are asked
// for the others follow, but no further CPUs for what is better off with one. A tower gets memory for what
// stands in it.
[[nodiscard]] Shape default_shape(const std::vector<std::string>& arguments, Silicon silicon = Silicon::amd,
                                  std::optional<std::uint32_t> cpus = {},
                                  std::optional<std::uint32_t> nodes = {});

// Errors: bad_input where the memory does not suffice for the nodes, or CPUs, nodes or memory are more than
// the emulator takes, or the flags are not of that form.
[[nodiscard]] Status check_shape(const Shape& shape);

// What the emulated machine boots. The descriptors are numbers in QEMU, of sockets.
struct Boot {
    std::filesystem::path kernel;
    std::filesystem::path initramfs;
    std::string command_line;
    int console_fd = 0; // ttyS0
    int frames_fd = 0;  // ttyS1
};

// The whole command line, `qemu` first. The shape has passed check_shape().
[[nodiscard]] std::vector<std::string> qemu_command(const std::filesystem::path& qemu, const Shape& shape,
                                                    const Boot& boot);

} // namespace nestbed::lab
