#include "guests/qemu_arguments.hpp"

#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::guests {
namespace {

using testing::HasSubstr;

std::vector<std::string> words_of(const std::string& text) {
    std::istringstream stream{text};
    std::vector<std::string> words;
    for (std::string word; stream >> word;)
        words.push_back(word);
    return words;
}

// All that kvm-unit-tests' x86/run gives to every image.
const std::string usual = "--no-reboot -nodefaults -global kvm-pit.lost_tick_policy=discard "
                          "-device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4 -display none "
                          "-serial stdio -device pci-testdev -machine accel=kvm ";

TEST(QemuArguments, OfATest) {
    auto words = words_of(usual + "-kernel x86/svm.flat -smp 2 -cpu max,+svm -m 4g -initrd /tmp/env");
    words.insert(words.end(), {"-append", "one two"});
    const auto parsed = parse_qemu_arguments(words);
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->action, QemuAction::boot);
    EXPECT_EQ(parsed->kernel, "x86/svm.flat");
    EXPECT_EQ(parsed->initrd, "/tmp/env");
    EXPECT_EQ(parsed->command_line, "one two");
    EXPECT_EQ(parsed->vcpus, 2U);
    EXPECT_EQ(parsed->memory_bytes, 4 * GiB);
    EXPECT_TRUE(parsed->serial_on_stdio);
    EXPECT_TRUE(parsed->no_reboot);
    ASSERT_EQ(parsed->cpu.wanted.size(), 1U);
    EXPECT_EQ(parsed->cpu.wanted[0].name, "svm");
}

TEST(QemuArguments, WhatIsNotSaidIsAsQemuHasIt) {
    const auto parsed = parse_qemu_arguments(words_of("-kernel a"));
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->vcpus, 1U);
    EXPECT_EQ(parsed->memory_bytes, 128 * MiB);
    EXPECT_FALSE(parsed->serial_on_stdio);
    EXPECT_FALSE(parsed->no_reboot);
    EXPECT_TRUE(parsed->initrd.empty());
    EXPECT_TRUE(parsed->cpu.shown.hidden.empty());
}

struct ActionCase {
    std::string text;
    QemuAction action;
};

TEST(QemuArguments, QuestionsNeedNoKernel) {
    for (const auto& [text, action] : std::vector<ActionCase>{{"-version", QemuAction::show_version},
                                                              {"--version", QemuAction::show_version},
                                                              {"-h", QemuAction::show_help},
                                                              {"--help", QemuAction::show_help},
                                                              {"-device ?", QemuAction::list_devices},
                                                              {"-device help", QemuAction::list_devices},
                                                              {"-machine help", QemuAction::list_machines},
                                                              {"-M ?", QemuAction::list_machines}}) {
        const auto parsed = parse_qemu_arguments(words_of(text));
        ASSERT_TRUE(parsed) << parsed.error().message();
        EXPECT_EQ(parsed->action, action) << text;
    }
}

struct NumberCase {
    std::string text;
    std::uint64_t value;
};

TEST(QemuArguments, NumbersOfVcpus) {
    for (const auto& [text, value] : std::vector<NumberCase>{{"1", 1},
                                                             {"2", 2},
                                                             {"254", 254},
                                                             {"255", 255},
                                                             {"256", 256},
                                                             {"257", 257},
                                                             {"cpus=288", 288},
                                                             {"1024", 1024}}) {
        const auto parsed = parse_qemu_arguments(words_of("-kernel a -smp " + text));
        ASSERT_TRUE(parsed) << parsed.error().message();
        EXPECT_EQ(parsed->vcpus, value);
    }
}

TEST(QemuArguments, AmountsOfMemory) {
    for (const auto& [text, value] : std::vector<NumberCase>{
             {"2560", 2560 * MiB}, {"4g", 4 * GiB}, {"512M", 512 * MiB}, {"size=1G", GiB}}) {
        const auto parsed = parse_qemu_arguments(words_of("-kernel a -m " + text));
        ASSERT_TRUE(parsed) << parsed.error().message();
        EXPECT_EQ(parsed->memory_bytes, value) << text;
    }
}

TEST(QemuArguments, WhatChangesNothingIsListedWithItsReason) {
    EXPECT_THAT(unneeded_arguments(), testing::Not(testing::IsEmpty()));
    const auto plain = parse_qemu_arguments(words_of("-kernel a"));
    ASSERT_TRUE(plain);
    for (const auto& [option, value, reason] : unneeded_arguments()) {
        EXPECT_FALSE(reason.empty()) << option;
        std::vector<std::string> words{"-kernel", "a", "-" + std::string{option}};
        if (!value.empty())
            words.emplace_back(value);
        const auto parsed = parse_qemu_arguments(words);
        ASSERT_TRUE(parsed) << parsed.error().message();
        EXPECT_EQ(parsed->kernel, plain->kernel);
    }
}

TEST(QemuArguments, MachinesThatAreTheOneThatThereIs) {
    for (const std::string text : {"pc", "q35", "q35,accel=kvm", "accel=kvm,kernel_irqchip=split",
                                   "q35,kernel-irqchip=split", "pit=off", "type=pc,vmport=off"}) {
        for (const std::string option : {"-machine", "-M", "--machine"}) {
            const auto parsed = parse_qemu_arguments({{"-kernel", "a", option, text}});
            EXPECT_TRUE(parsed) << text;
        }
    }
}

struct RefusedCase {
    std::string text;
    std::string named; // what the message has to name
};

// NOLINTNEXTLINE(readability-identifier-naming): GoogleTest looks for this name.
void PrintTo(const RefusedCase& one, std::ostream* out) {
    *out << one.text;
}

class Refused : public testing::TestWithParam<RefusedCase> {};

TEST_P(Refused, WithItsName) {
    const auto parsed = parse_qemu_arguments(words_of(usual + "-kernel a " + GetParam().text));
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(parsed.error().message(), HasSubstr(GetParam().named));
}

INSTANTIATE_TEST_SUITE_P(
    All, Refused,
    testing::Values(
        RefusedCase{"-frobnicate", "-frobnicate"}, RefusedCase{"disk.img", "disk.img"}, RefusedCase{"-", "-"},
        RefusedCase{"-kernel", "-kernel"}, RefusedCase{"-smp 0", "-smp 0"},
        RefusedCase{"-smp 2,sockets=2", "sockets=2"}, RefusedCase{"-smp 99999999999", "99999999999"},
        RefusedCase{"-smp", "-smp"}, RefusedCase{"-m 0", "-m 0"}, RefusedCase{"-m 12x", "12x"},
        RefusedCase{"-m 2048,slots=4", "slots=4"},
        RefusedCase{"-m 99999999999999999999", "99999999999999999999"}, RefusedCase{"-cpu EPYC", "EPYC"},
        RefusedCase{"-cpu host,hv_passthrough", "hv_passthrough"},
        RefusedCase{"-cpu max,phys-bits=36", "phys-bits=36"},
        RefusedCase{"-cpu max,host-phys-bits=off", "host-phys-bits"},
        RefusedCase{"-machine accel=tcg", "accel=tcg"}, RefusedCase{"-machine pit=on", "pit=on"},
        RefusedCase{"-machine vmport=on", "vmport=on"}, RefusedCase{"-machine q35,", "machine"},
        RefusedCase{"-M microvm", "microvm"}, RefusedCase{"-M q35,kernel-irqchip=on", "kernel-irqchip=on"},
        RefusedCase{"-device hyperv-testdev", "hyperv-testdev"},
        RefusedCase{"-device intel-iommu,intremap=on", "intel-iommu"},
        RefusedCase{"-device isa-debug-exit,iobase=0x501,iosize=4", "0x501"},
        RefusedCase{"-overcommit cpu-pm=on", "cpu-pm=on"}, RefusedCase{"-serial mon:stdio", "mon:stdio"},
        RefusedCase{"-incoming tcp:0", "-incoming"}, RefusedCase{"-vnc :1", ":1"},
        RefusedCase{"-display gtk", "gtk"}, RefusedCase{"-S", "-S"}));

TEST(QemuArguments, NoImage) {
    const auto parsed = parse_qemu_arguments(words_of(usual));
    ASSERT_FALSE(parsed);
    EXPECT_THAT(parsed.error().message(), HasSubstr("-kernel"));
}

// What the scripts look for, quotes included.
TEST(QemuArguments, DevicesThatScriptsAskFor) {
    for (const std::string name : {"\"pc-testdev\"", "\"pci-testdev\"", "\"isa-debug-exit\""})
        EXPECT_THAT(device_list(), HasSubstr(name));
}

} // namespace
} // namespace nestbed::guests
