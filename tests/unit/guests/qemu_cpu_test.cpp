#include "guests/qemu_cpu.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::guests {
namespace {

using core::cpu::CpuidBits;
using core::cpu::Register;
using core::cpu::Table;
using testing::ElementsAre;
using testing::HasSubstr;

// A processor that has everything, seen through what `text` hides.
Table seen(const std::string& text) {
    constexpr std::uint32_t all = ~0U;
    Table table;
    for (const std::uint32_t leaf :
         {0x1U, 0x7U, 0xaU, 0xdU, 0x80000001U, 0x80000007U, 0x80000008U, 0x8000000aU})
        for (const std::uint32_t subleaf : {0U, 1U})
            table.push_back({.function = leaf,
                             .index = subleaf,
                             .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                             .eax = all,
                             .ebx = all,
                             .ecx = all,
                             .edx = all,
                             .padding = {}});
    const auto cpu = parse_qemu_cpu(text);
    EXPECT_TRUE(cpu) << cpu.error().message();
    return core::cpu::without_bits(std::move(table), cpu->shown.hidden);
}

bool has(const std::string& text, const CpuidBits& bits) {
    return core::cpu::missing_bits(seen(text), {&bits, 1}).empty();
}

constexpr CpuidBits x2apic{1, 0, Register::ecx, 1U << 21};
constexpr CpuidBits tsc_deadline{1, 0, Register::ecx, 1U << 24};
constexpr CpuidBits pcid{1, 0, Register::ecx, 1U << 17};
constexpr CpuidBits xsave{1, 0, Register::ecx, 1U << 26};
constexpr CpuidBits cx16{1, 0, Register::ecx, 1U << 13};
constexpr CpuidBits sse2{1, 0, Register::edx, 1U << 26};
constexpr CpuidBits htt{1, 0, Register::edx, 1U << 28};
constexpr CpuidBits invpcid{7, 0, Register::ebx, 1U << 10};
constexpr CpuidBits umip{7, 0, Register::ecx, 1U << 2};
constexpr CpuidBits la57{7, 0, Register::ecx, 1U << 16};
constexpr CpuidBits topoext{0x80000001, 0, Register::ecx, 1U << 22};
constexpr CpuidBits lahf{0x80000001, 0, Register::ecx, 1U << 0};
constexpr CpuidBits long_mode{0x80000001, 0, Register::edx, 1U << 29};
constexpr CpuidBits rdtscp{0x80000001, 0, Register::edx, 1U << 27};
constexpr CpuidBits npt{0x8000000a, 0, Register::edx, 1U << 0};
constexpr CpuidBits vgif{0x8000000a, 0, Register::edx, 1U << 16};

struct FeatureCase {
    std::string text;
    std::vector<CpuidBits> there;
    std::vector<CpuidBits> gone;
};

TEST(QemuCpu, WhatIsShown) {
    for (const auto& [text, there, gone] : std::vector<FeatureCase>{
             {"max", {x2apic, tsc_deadline, pcid, xsave, la57, npt, htt}, {}},
             {"host", {x2apic, tsc_deadline, pcid, xsave, la57, npt}, {}},
             {"max,-la57", {x2apic, xsave}, {la57}},
             {"max,la57=off", {x2apic, xsave}, {la57}},
             {"max,-la57,+la57", {la57}, {}},
             {"max,+svm,-npt", {vgif}, {npt}},
             {"max,-tsc_deadline", {x2apic}, {tsc_deadline}},
             {"max,+svm,-rdtscp,-xsave,-invpcid", {x2apic, umip}, {rdtscp, xsave, invpcid}},
             {"qemu64",
              {x2apic, cx16, sse2, htt, lahf, long_mode, topoext},
              {tsc_deadline, pcid, xsave, umip, invpcid, rdtscp, npt}},
             {"qemu64,+x2apic,+tsc-deadline", {x2apic, tsc_deadline}, {pcid}},
             {"qemu64,-x2apic,+tsc-deadline", {tsc_deadline}, {x2apic}},
             {"qemu64,-pcid,+invpcid", {invpcid}, {pcid}},
             {"qemu64,+umip", {umip}, {pcid}},
             {"Opteron_G1", {sse2, long_mode}, {cx16, lahf, xsave}},
         }) {
        for (const auto& bits : there)
            EXPECT_TRUE(has(text, bits))
                << text << " lacks leaf " << std::hex << bits.leaf << " " << bits.bits;
        for (const auto& bits : gone)
            EXPECT_FALSE(has(text, bits))
                << text << " has leaf " << std::hex << bits.leaf << " " << bits.bits;
    }
}

TEST(QemuCpu, WhatChangesNothing) {
    for (const std::string text : {"max,host-phys-bits", "max,host-phys-bits=on", "host,migratable=no"})
        EXPECT_TRUE(parse_qemu_cpu(text)->shown.hidden.empty()) << text;
}

TEST(QemuCpu, WhatIsAskedForIsKept) {
    const auto cpu = parse_qemu_cpu("qemu64,+x2apic,+pcid,-pcid,umip=on");
    ASSERT_TRUE(cpu);
    std::vector<std::string_view> names;
    for (const auto& feature : cpu->wanted)
        names.push_back(feature.name);
    EXPECT_THAT(names, ElementsAre("x2apic", "umip"));
    EXPECT_EQ(cpu->wanted[0].bits, x2apic);
}

TEST(QemuCpu, Vendors) {
    EXPECT_EQ(parse_qemu_cpu("max,vendor=GenuineIntel")->shown.vendor, "GenuineIntel");
    EXPECT_EQ(parse_qemu_cpu("max")->shown.vendor, "");
    EXPECT_FALSE(parse_qemu_cpu("max,vendor=Intel"));
}

TEST(QemuCpu, NamesThatThereAreNoneOf) {
    for (const std::string text : {"", "EPYC", "IvyBridge", "max,+frobnicate", "max,hv_passthrough", "max,",
                                   "max,+", "max,enforce", "max,la57=maybe", "max,phys-bits=36"}) {
        const auto cpu = parse_qemu_cpu(text);
        ASSERT_FALSE(cpu) << text;
        EXPECT_EQ(cpu.error().kind, ErrorKind::bad_input);
    }
    EXPECT_THAT(parse_qemu_cpu("max,+inpvcid").error().message(), HasSubstr("invpcid"));
}

struct ProfileCase {
    std::string text;
    nested::Extension offered;
    nested::Showing showing;
    std::vector<std::string> without = {};
};

TEST(QemuCpu, NestedVirtualization) {
    using nested::Extension;
    using nested::Showing;
    for (const auto& [text, offered, showing, without] : std::vector<ProfileCase>{
             {"max", Extension::svm, Showing::automatic},
             {"max", Extension::none, Showing::automatic},
             {"max,-svm", Extension::svm, Showing::off},
             {"max,-svm", Extension::vmx, Showing::automatic},
             {"max,-vmx", Extension::vmx, Showing::off},
             {"qemu64", Extension::svm, Showing::off},
             {"qemu64", Extension::vmx, Showing::off},
             {"qemu64,+svm", Extension::svm, Showing::automatic},
             {"max,+vmx,-vmx-mbec", Extension::vmx, Showing::require, {"ept_mode_based_exec"}},
             {"max,+vmx,-vmx-mbec", Extension::svm, Showing::automatic},
             {"max,-vmx-mbec,+vmx-mbec", Extension::vmx, Showing::automatic},
         }) {
        const auto cpu = parse_qemu_cpu(text);
        ASSERT_TRUE(cpu) << cpu.error().message();
        const auto profile = nested_profile(*cpu, offered);
        EXPECT_EQ(profile.showing, showing) << text;
        EXPECT_EQ(profile.without, without) << text;
    }
}

} // namespace
} // namespace nestbed::guests
