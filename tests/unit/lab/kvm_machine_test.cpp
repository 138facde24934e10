#include "lab/kvm_machine.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

using testing::HasSubstr;

std::string command(const Shape& shape) {
    return fmt::format("{}", fmt::join(kvm_machine_command("/n", shape,
                                                           {.kernel = "/k",
                                                            .initramfs = "/i",
                                                            .command_line = "console=ttyS0 x",
                                                            .console_fd = 3,
                                                            .frames_fd = 4},
                                                           "/r"),
                                       " "));
}

TEST(KvmMachineCommand, BootsWhatItIsGivenOnItsOwnLines) {
    const auto line = command({.cpus = 5, .nodes = 1, .memory_bytes = 3 * GiB, .engine = Engine::kvm});
    for (const auto* const part :
         {"/n boot /k ", "--initrd /i ", "--append console=ttyS0 x ", "--vcpus 5 ", "--memory 3072M ",
          "--serial-fds 3,4 ", "--timeout 0 ", "--where host ", "-o /r"})
        EXPECT_THAT(line, HasSubstr(part));
}

TEST(KvmMachineCommand, RequiresTheSilicon) {
    EXPECT_THAT(command({.silicon = Silicon::amd}), HasSubstr("--nested svm "));
    EXPECT_THAT(command({.silicon = Silicon::intel}), HasSubstr("--nested vmx "));
}

} // namespace
} // namespace nestbed::lab
