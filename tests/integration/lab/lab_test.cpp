// The ways in which an emulated machine can end, played by a stand-in for QEMU; none of them leaves a process
// or a file behind.
#include "lab/lab.hpp"

#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/units.hpp"
#include "tests/unit/lab/kernel_files.hpp"
#include "tests/unit/lab/scratch.hpp"

namespace nestbed::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

class Lab : public test::InScratch {
protected:
    void SetUp() override {
        InScratch::SetUp();
        auto created = supervise::Supervisor::create();
        ASSERT_TRUE(created) << created.error().message();
        _supervisor = std::move(*created);
        const auto image = write("bzImage", test::kernel_image("1.0-fake x"));
        request = {.arguments = {"validate", "-o", (folder() / "marker.results").string()},
                   .shape = {},
                   .kernel = KernelFiles{.image = image, .modules = {}},
                   .program = NESTBED_PROGRAM,
                   .working_directory = folder(),
                   .cache = folder() / "cache",
                   .emulator = NESTBED_FAKE_EMULATOR,
                   .machine_results = {},
                   .append = {},
                   .timeout = 60s,
                   .boot_patience = 30s,
                   .silence = 30s,
                   .grace = 10s};
    }

    void TearDown() override {
        _supervisor.reset();
        EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
        std::error_code none;
        for (const auto& entry : fs::directory_iterator{request.cache, none})
            EXPECT_THAT(entry.path().filename().string(), testing::Not(testing::StartsWith("run.")));
        InScratch::TearDown();
    }

    Result<LabResult> play(const std::string& situation) {
        request.append = "fake=" + situation + ":" + (folder() / "marker").string();
        return run(request,
                   {.out = [&](std::string_view bytes) { out += bytes; },
                    .err = [&](std::string_view bytes) { err += bytes; },
                    .progress = [&](const std::string& what) { progress += what; },
                    .again =
                        [&](const Error&) {
                            ++again;
                            out.clear();
                            err.clear();
                        }},
                   *_supervisor);
    }
    [[nodiscard]] supervise::Supervisor& supervisor() { return *_supervisor; }
    // All consoles that were kept.
    [[nodiscard]] std::string read_console() const {
        std::string text;
        for (const auto& entry : fs::directory_iterator{request.cache})
            if (entry.path().filename().string().starts_with("console-"))
                text += read(entry.path());
        return text;
    }
    [[nodiscard]] fs::path result() const { return folder() / "marker.results/run.json"; }

    LabRequest request;
    std::string out;
    std::string err;
    std::string progress;
    int again = 0;

private:
    std::unique_ptr<supervise::Supervisor> _supervisor;
};

TEST_F(Lab, BringsBackOutputFilesAndExitCode) {
    const auto ran = play("works");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->exit_code, 7);
    EXPECT_EQ(out, "to stdout\n");
    EXPECT_EQ(err, "to stderr\n");
    EXPECT_THAT(ran->files, testing::ElementsAre(result()));
    EXPECT_EQ(read(result()), "whole");
    EXPECT_THAT(ran->console, testing::ElementsAre("[    0.0] the fake kernel boots"));
    EXPECT_TRUE(ran->mishaps.empty());
    EXPECT_EQ(ran->attempts, 1U);
    EXPECT_EQ(ran->kernel, "1.0-fake");
    EXPECT_THAT(progress, HasSubstr("booting"));
}

// As QEMU's machine does that has lost its timer's interrupt: the next one brings it.
TEST_F(Lab, WhoOversleepsIsWoken) {
    const auto ran = play("oversleeps");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->exit_code, 7);
    EXPECT_EQ(ran->attempts, 1U);
    EXPECT_EQ(again, 0);
}

TEST_F(Lab, WritesNothingWhereItWasNotAskedTo) {
    const auto ran = play("intrudes");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->mishaps.size(), 2U);
    EXPECT_THAT(ran->files, testing::ElementsAre(result()));
    EXPECT_FALSE(fs::exists(folder() / "marker.elsewhere"));
    EXPECT_FALSE(fs::exists(folder() / "x"));
}

TEST_F(Lab, SaysThatSomethingWasLost) {
    const auto ran = play("loses");
    ASSERT_TRUE(ran) << ran.error().message();
    ASSERT_EQ(ran->mishaps.size(), 1U);
    EXPECT_THAT(ran->mishaps[0].found, HasSubstr("1 gaps"));
}

TEST_F(Lab, AnErrorOfTheInsideIsTheUsers) {
    const auto ran = play("fails");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(ran.error().asked, "find /dev/kvm");
    EXPECT_EQ(ran.error().found, "none?[2J") << "nothing from inside steers the terminal";
}

struct EndingCase {
    std::string situation;
    ErrorKind kind;
    std::vector<std::string> found;
};

void PrintTo(const EndingCase& ending, std::ostream* to) {
    *to << ending.situation;
}

class LabEnding : public Lab, public testing::WithParamInterface<EndingCase> {};

TEST_P(LabEnding, IsSaid) {
    request.boot_patience = 1s;
    request.timeout = 6s;
    request.silence = 2s;
    request.grace = 1s;
    const auto ran = play(GetParam().situation);
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, GetParam().kind) << ran.error().message();
    for (const auto& text : GetParam().found)
        EXPECT_THAT(ran.error().message(), HasSubstr(text));
    EXPECT_EQ(again, GetParam().situation == "dies" ? 1 : 0);
    EXPECT_THAT(read_console(), HasSubstr(GetParam().situation == "refuses" ? "" : "the fake kernel boots"));
}

INSTANTIATE_TEST_SUITE_P(
    All, LabEnding,
    testing::Values(EndingCase{"refuses", ErrorKind::host_lacks, {"option not known"}},
                    EndingCase{"panics", ErrorKind::check_failed, {"kernel panicked", "nothing works"}},
                    EndingCase{"resets", ErrorKind::check_failed, {"reset or turned off"}},
                    EndingCase{
                        "never-up", ErrorKind::deadline, {"nothing was heard", "the fake kernel boots"}},
                    EndingCase{"dies", ErrorKind::check_failed, {"the emulated host died"}},
                    EndingCase{"hangs", ErrorKind::deadline, {"host was alive", "--timeout"}}),
    [](const auto& one) {
        auto name = one.param.situation;
        std::erase(name, '-');
        return name;
    });

TEST_F(Lab, AHostThatDiesOnceIsGivenASecondChance) {
    request.silence = 1s;
    const auto ran = play("dies-once");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->attempts, 2U);
    EXPECT_EQ(again, 1);
    EXPECT_EQ(out, "to stdout\n");
}

TEST_F(Lab, AKernelThatDoesNotWriteAWordIsGivenASecondChance) {
    request.boot_patience = 1s;
    request.attempts = 1; // is about hosts that had begun
    const auto ran = play("silent-once");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->attempts, 2U);
    EXPECT_EQ(again, 1);
    EXPECT_EQ(out, "to stdout\n");
    const auto never = play("silent");
    ASSERT_FALSE(never);
    EXPECT_EQ(never.error().kind, ErrorKind::deadline) << never.error().message();
    EXPECT_EQ(again, 2);
}

TEST_F(Lab, ADeadlineStillBringsWhatThereIs) {
    request.timeout = 2s;
    const auto ran = play("heeds");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::deadline);
    EXPECT_EQ(read(result()), "partial");
}

TEST_F(Lab, ASignalStillBringsWhatThereIs) {
    boost::fibers::fiber interrupts{[&] {
        while (out.empty())
            boost::this_fiber::sleep_for(10ms);
        supervisor().cancel(SIGINT);
    }};
    const auto ran = play("heeds");
    interrupts.join();
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->exit_code, 130);
    EXPECT_EQ(read(result()), "partial");
}

TEST_F(Lab, ASignalEndsWhatDoesNotHeedIt) {
    request.grace = 1s;
    boost::fibers::fiber interrupts{[&] {
        while (out.empty())
            boost::this_fiber::sleep_for(10ms);
        supervisor().cancel(SIGINT);
    }};
    const auto ran = play("hangs");
    interrupts.join();
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::cancelled);
}

// The same with nestbed in the emulator's place.
class KvmLab : public Lab {
protected:
    void SetUp() override {
        Lab::SetUp();
        request.shape = {.cpus = 1, .nodes = 1, .engine = Engine::kvm};
        request.grace = 1s; // the stand-in does not end by itself
    }
};

TEST_F(KvmLab, BringsBackOutputFilesAndExitCode) {
    const auto ran = play("works");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->exit_code, 7);
    EXPECT_EQ(out, "to stdout\n");
    EXPECT_EQ(read(result()), "whole");
}

TEST_F(KvmLab, TellsTheGuestsEndFromItsOwn) {
    EXPECT_THAT(play("panics").error().message(), HasSubstr("kernel panicked"));
    EXPECT_THAT(play("resets").error().message(), HasSubstr("reset or turned off"));
}

TEST_F(KvmLab, AHangIsFoundAndEnded) {
    request.silence = 1s;
    request.attempts = 1;
    const auto ran = play("dies");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(ran.error().message(), HasSubstr("nestbed boot ran on"));
}

// The same through Bochs' lines, a terminal and a pipe.
class IntelLab : public Lab {
protected:
    void SetUp() override {
        Lab::SetUp();
        const auto vmlinux = test::vmlinux_to_boot(16 * MiB, "kernel", 16 * MiB);
        request.shape = default_shape(request.arguments, Silicon::intel);
        request.kernel->image = write("vmlinuz", test::kernel_image_with("1.0-fake x", vmlinux + "size"));
    }
};

TEST_F(IntelLab, BringsBackOutputFilesAndExitCode) {
    const auto ran = play("works");
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_EQ(ran->exit_code, 7);
    EXPECT_EQ(out, "to stdout\n");
    EXPECT_EQ(err, "to stderr\n");
    EXPECT_EQ(read(result()), "whole");
    EXPECT_TRUE(ran->mishaps.empty());
}

TEST_F(IntelLab, ADeadlineStillBringsWhatThereIs) {
    request.timeout = 4s;
    const auto ran = play("heeds");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::deadline);
    EXPECT_EQ(read(result()), "partial");
}

TEST_F(IntelLab, TellsTheMachinesEndFromTheEmulators) {
    const auto panicked = play("panics");
    ASSERT_FALSE(panicked);
    EXPECT_THAT(panicked.error().message(), HasSubstr("kernel panicked"));
    EXPECT_THAT(panicked.error().message(), HasSubstr("nothing works")) << "the kernel's last words";
    EXPECT_THAT(play("resets").error().message(), HasSubstr("reset or turned off"));
    const auto refused = play("refuses");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(refused.error().message(), HasSubstr("Bochs ended with: fake: option not known"));
}

TEST_F(IntelLab, AKernelThatBochsCannotStartIsRefused) {
    request.kernel->image = write("vmlinuz", test::kernel_image("1.0-fake x"));
    const auto ran = play("works");
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(ran.error().message(), HasSubstr("CONFIG_PVH=y"));
}

// The CPU that QEMU of a version is told to emulate.
TEST_F(Lab, DoesWithoutNestedPagingWhereQemuHasItWrong) {
    struct Case {
        const char* version;
        const char* flags;
        const char* end;
    };
    for (const auto& [version, flags, end] :
         {Case{"8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)", "", "check=off,-npt"},
          Case{"8.2.2", "+vgif", "check=off,+vgif,-npt"}, Case{"8.2.2", "+npt", "check=off,+npt"},
          Case{"10.0.13", "", "check=off"}, Case{"unheard of", "+vgif", "check=off,+vgif"}}) {
        ASSERT_EQ(::setenv("FAKE_QEMU_VERSION", version, 1), 0);
        request.shape.cpu_flags = flags;
        out.clear();
        const auto ran = play("tells-its-cpu");
        ::unsetenv("FAKE_QEMU_VERSION");
        ASSERT_TRUE(ran) << ran.error().message();
        EXPECT_EQ(out, fmt::format("EPYC,+svm,+npt,{}to stdout\n", end)) << version;
    }
}

TEST_F(Lab, WhatCannotStartIsSaid) {
    request.emulator = folder() / "nothing";
    EXPECT_EQ(play("works").error().kind, ErrorKind::host_lacks);
    request.emulator = write("no-program", "text");
    EXPECT_EQ(play("works").error().kind, ErrorKind::host_lacks);
    request.kernel = KernelFiles{.image = folder() / "no-program", .modules = {}};
    EXPECT_EQ(play("works").error().kind, ErrorKind::bad_input);
    request.shape.nodes = 9;
    EXPECT_EQ(play("works").error().kind, ErrorKind::bad_input);
}

} // namespace
} // namespace nestbed::lab
