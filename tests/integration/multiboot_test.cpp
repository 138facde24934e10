// Multiboot images as test suites have them, by `nestbed boot` and by QEMU's command line.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/kvm.hpp"
#include "stress/bench/child_process.hpp"

namespace nestbed {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

const std::string guest = NESTBED_MULTIBOOT_GUEST; // see multiboot_guest/guest.S

class Multiboot : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-multiboot-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    static bench::ChildRun run(const std::vector<std::string>& arguments) {
        const auto child = bench::run_child(arguments, 60s);
        EXPECT_TRUE(child) << child.error().message();
        return child ? *child : bench::ChildRun{};
    }
    // What `text` makes the guest do.
    [[nodiscard]] bench::ChildRun boot(const std::string& text, std::vector<std::string> more = {}) const {
        more.insert(more.begin(), {NESTBED_PROGRAM, "boot", guest, "--where", "host", "--append", text, "-o",
                                   _folder.string()});
        return run(more);
    }
    static bench::ChildRun as_qemu(const std::string& text, std::vector<std::string> more = {}) {
        more.insert(more.begin(), {NESTBED_AS_QEMU, "-nodefaults", "-device", "pc-testdev", "-device",
                                   "isa-debug-exit,iobase=0xf4,iosize=0x4", "-display", "none", "-serial",
                                   "stdio", "-machine", "accel=kvm", "-kernel", guest, "-append", text});
        return run(more);
    }
    [[nodiscard]] std::filesystem::path folder() const { return _folder; }

private:
    std::filesystem::path _folder;
};

#define NESTBED_NEEDS_KVM()                                                                                  \
    if (const auto kvm = kvm::Kvm::open(); !kvm)                                                             \
    GTEST_SKIP() << kvm.error().message()

TEST_F(Multiboot, StatusesOfBoot) {
    NESTBED_NEEDS_KVM();
    for (const int status : {0, 1, 9}) {
        const auto child = boot(std::to_string(status), {"--vcpus", "3"});
        EXPECT_EQ(child.exit_code, status);
        EXPECT_THAT(child.last_output, HasSubstr("cpus 3\nonline 3\n"));
    }
}

// (status << 1) | 1, as QEMU has it, and nothing on stderr, which test suites take for a failure.
TEST_F(Multiboot, StatusesAsQemu) {
    NESTBED_NEEDS_KVM();
    for (const int status : {0, 1, 9}) {
        const auto child = as_qemu(std::to_string(status), {"-smp", "3"});
        EXPECT_EQ(child.exit_code, status << 1 | 1);
        EXPECT_EQ(child.last_output, "cpus 3\nonline 3\n");
    }
}

TEST_F(Multiboot, OneCpu) {
    NESTBED_NEEDS_KVM();
    EXPECT_EQ(as_qemu("0").last_output, "cpus 1\nonline 1\n");
}

TEST_F(Multiboot, AModule) {
    NESTBED_NEEDS_KVM();
    std::ofstream{folder() / "module"} << "7\n";
    EXPECT_EQ(as_qemu("m", {"-initrd", folder() / "module"}).exit_code, 15);
    EXPECT_EQ(boot("m", {"--initrd", folder() / "module"}).exit_code, 7);
    EXPECT_EQ(boot("m").exit_code, 99) << "there is none";
}

TEST_F(Multiboot, OtherEndings) {
    NESTBED_NEEDS_KVM();
    EXPECT_EQ(as_qemu("p").exit_code, 0) << "powered off";
    EXPECT_EQ(as_qemu("t", {"-no-reboot"}).exit_code, 0) << "triple fault";
    EXPECT_EQ(as_qemu("b", {"-no-reboot"}).exit_code, 0) << "reset by way of the BIOS";
    const auto reset = as_qemu("t");
    EXPECT_EQ(reset.exit_code, 1);
    EXPECT_THAT(reset.last_output, HasSubstr("-no-reboot"));
    EXPECT_EQ(boot("p").exit_code, 0);
    EXPECT_EQ(boot("t").exit_code, 1);
}

TEST_F(Multiboot, ATimeout) {
    NESTBED_NEEDS_KVM();
    const auto child = boot("h", {"--timeout", "0.5"});
    EXPECT_EQ(child.exit_code, 1);
    EXPECT_THAT(child.last_output, HasSubstr("not done within its deadline"));
    EXPECT_LT(child.seconds_to_end, 20);
    // Theirs is timeout(1)'s.
    EXPECT_EQ(run({"timeout", "1", NESTBED_AS_QEMU, "-kernel", guest, "-append", "h"}).exit_code, 124);
}

// An image that says it is good does not make good what else was asked.
TEST_F(Multiboot, ExpectedLinesThatDidNotCome) {
    NESTBED_NEEDS_KVM();
    EXPECT_EQ(boot("0", {"--expect", "online 1"}).exit_code, 0);
    const auto child = boot("0", {"--expect", "no such line"});
    EXPECT_EQ(child.exit_code, 1);
    EXPECT_THAT(child.last_output, HasSubstr("FAIL  boot.expected"));
}

// As under a pager at its first page: the pipe has no room, and nobody makes any.
TEST_F(Multiboot, AReaderThatStandsStillDoesNotKeepItFromEnding) {
    NESTBED_NEEDS_KVM();
    const auto child = run(
        {"bash", "-c",
         fmt::format("mkfifo {0}/pipe && exec 3<>{0}/pipe && head -c 65536 /dev/zero >&3; "
                     "{1} boot {2} --append h --timeout 1 --where host -o {0} >&3; echo ended with $? >&2",
                     folder().string(), NESTBED_PROGRAM, guest)});
    EXPECT_THAT(child.last_output, HasSubstr("ended with 1\n"));
    EXPECT_THAT(child.last_output, HasSubstr("not done within its deadline"));
    EXPECT_LT(child.seconds_to_end, 30);
}

// Nor does a stderr that takes nothing: results are kept, and the exit code is that of the run.
TEST_F(Multiboot, AStderrThatIsFull) {
    NESTBED_NEEDS_KVM();
    const auto full = [&](const std::string& rest) {
        return run({"bash", "-c", std::string{NESTBED_PROGRAM} + " boot " + rest + " 2>/dev/full"}).exit_code;
    };
    EXPECT_EQ(full("/nonexistent -o " + folder().string()), 2);
    EXPECT_EQ(full(guest + " --append 7 --where host -o " + folder().string()), 7);
    EXPECT_TRUE(std::filesystem::exists(folder() / "run.json"));
}

TEST_F(Multiboot, TimesThatAreNone) {
    for (const auto* const time : {"nan", "1e300", "-1", "soon"})
        EXPECT_EQ(boot("0", {"--timeout", time}).exit_code, 2) << time;
}

TEST_F(Multiboot, WithoutASerialPortNothingIsPrinted) {
    NESTBED_NEEDS_KVM();
    const auto child = run({NESTBED_AS_QEMU, "-kernel", guest, "-append", "2"});
    EXPECT_EQ(child.exit_code, 5);
    EXPECT_EQ(child.last_output, "");
}

TEST_F(Multiboot, ArgumentsThatThereAreNoneOfAreRefused) {
    for (const std::string argument : {"-frobnicate", "-incoming", "disk.img"}) {
        const auto child = as_qemu("0", {argument});
        EXPECT_EQ(child.exit_code, 1);
        EXPECT_THAT(child.last_output, HasSubstr(argument));
        EXPECT_THAT(child.last_output, Not(HasSubstr("cpus")));
    }
    const auto model = as_qemu("0", {"-cpu", "EPYC"});
    EXPECT_EQ(model.exit_code, 1);
    EXPECT_THAT(model.last_output, HasSubstr("EPYC"));
}

// The words by which the scripts find out what they have to do with.
TEST_F(Multiboot, WhatScriptsAskBeforehand) {
    const auto devices = run({NESTBED_AS_QEMU, "-device", "?"});
    EXPECT_EQ(devices.exit_code, 0);
    EXPECT_THAT(devices.last_output, HasSubstr("\"pc-testdev\""));
    EXPECT_THAT(run({NESTBED_AS_QEMU, "--help"}).last_output, HasSubstr("QEMU"));
    EXPECT_THAT(run({NESTBED_AS_QEMU, "-version"}).line,
                testing::MatchesRegex("[^ ]+ [^ ]+ version [0-9.]+.*"));
}

TEST_F(Multiboot, AKernelThatIsNotThere) {
    NESTBED_NEEDS_KVM();
    const auto child = run({NESTBED_AS_QEMU, "-kernel", "_NO_FILE_4Uhere_"});
    EXPECT_EQ(child.exit_code, 1);
    EXPECT_THAT(child.last_output, HasSubstr("could not open kernel file '_NO_FILE_4Uhere_'"));
}

// Each is found out at another step of making the machine.
TEST_F(Multiboot, ImagesThatAreNone) {
    NESTBED_NEEDS_KVM();
    std::string truncated;
    std::getline(std::ifstream{guest, std::ios::binary}, truncated, '\0');
    for (const auto& [bytes, complaint] : std::vector<std::pair<std::string, std::string>>{
             {"", "it is empty"},
             {"a text", "nothing known"},
             {"MZ" + std::string(5000, '\0'), "it looks like"},
             {"\x1f\x8b\x08", "it looks like"},
             {truncated, "ELF"},
             {std::string(0x202, 'x') + "HdrS", "the header alone"}}) {
        SCOPED_TRACE(complaint);
        std::ofstream{folder() / "image", std::ios::binary} << bytes;
        const auto child =
            run({NESTBED_PROGRAM, "boot", folder() / "image", "--where", "host", "-o", folder()});
        EXPECT_EQ(child.exit_code, 2) << child.last_output;
        EXPECT_THAT(child.last_output, HasSubstr(complaint));
        EXPECT_TRUE(std::filesystem::exists(folder() / "run.json"));
        EXPECT_EQ(run({NESTBED_AS_QEMU, "-kernel", folder() / "image"}).exit_code, 1);
    }
}

TEST_F(Multiboot, MoreCpusThanKvmAllows) {
    NESTBED_NEEDS_KVM();
    const auto child = as_qemu("0", {"-smp", "70000"});
    EXPECT_EQ(child.exit_code, 1);
    EXPECT_THAT(child.last_output, testing::ContainsRegex("SMP CPUs.* \\([0-9]+\\)\n$"));
}

} // namespace
} // namespace nestbed
