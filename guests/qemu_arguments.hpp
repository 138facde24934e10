// The part of QEMU's command line by which kvm-unit-tests start their images.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/units.hpp"
#include "guests/qemu_cpu.hpp"

namespace nestbed::guests {

enum class QemuAction {
    boot,
    show_version,
    show_help,
    list_devices,
    list_machines,
};

struct QemuArguments {
    QemuAction action = QemuAction::boot;
    std::string kernel; // path; never empty for boot
    std::string initrd; // path; empty: none
    std::string command_line;
    std::uint32_t vcpus = 1;
    std::uint64_t memory_bytes = 128 * MiB; // QEMU's default
    QemuCpu cpu;
    bool serial_on_stdio = false; // else what the guest prints goes nowhere
    bool no_reboot = false;       // a guest that resets itself has ended well
};

// Without the program's name. Errors: bad_input for every argument that there is none of, and for those that
// ask for something that nestbed's machine has not: nothing is passed over but what that machine does anyway,
// which is listed, with the reason, in unneeded_arguments().
[[nodiscard]] Result<QemuArguments> parse_qemu_arguments(std::span<const std::string> arguments);

// What is understood and changes nothing.
struct UnneededArgument {
    std::string_view option;
    std::string_view value; // empty: of an option that takes none
    std::string_view reason;
};
[[nodiscard]] std::span<const UnneededArgument> unneeded_arguments();

// Of "-device '?'": one line a device, as QEMU has them.
[[nodiscard]] std::string device_list();
[[nodiscard]] std::string machine_list();

} // namespace nestbed::guests
