#include "lab/kvm_machine.hpp"

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::lab {

std::vector<std::string> kvm_machine_command(const std::filesystem::path& program, const Shape& shape,
                                             const Boot& boot, const std::filesystem::path& results) {
    return {program.string(),
            "boot",
            boot.kernel.string(),
            "--initrd",
            boot.initramfs.string(),
            "--append",
            boot.command_line,
            "--vcpus",
            fmt::format("{}", shape.cpus),
            "--memory",
            fmt::format("{}M", shape.memory_bytes / MiB),
            "--nested",
            shape.silicon == Silicon::intel ? "vmx" : "svm",
            "--serial-fds",
            fmt::format("{},{}", boot.console_fd, boot.frames_fd),
            "--timeout",
            "0",
            "--where",
            "host",
            "-o",
            results.string()};
}

} // namespace nestbed::lab
