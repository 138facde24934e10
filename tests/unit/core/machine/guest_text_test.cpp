#include "core/machine/guest_text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::machine {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct ListCase {
    std::vector<std::uint32_t> vcpus;
    std::string text;
};

TEST(VcpuList, JoinsRanges) {
    for (const auto& [vcpus, text] :
         {ListCase{{0}, "vCPU 0"}, ListCase{{7}, "vCPU 7"}, ListCase{{0, 1}, "vCPUs 0-1"},
          ListCase{{0, 1, 2, 3, 4, 5, 9}, "vCPUs 0-5,9"}, ListCase{{1, 3, 5}, "vCPUs 1,3,5"},
          ListCase{{0, 254, 255, 256}, "vCPUs 0,254-256"}, ListCase{{4'294'967'295}, "vCPU 4294967295"}})
        EXPECT_EQ(vcpu_list(vcpus), text);
}

TEST(VcpuList, IsShortHoweverManyThereAre) {
    std::vector<std::uint32_t> odd;
    for (std::uint32_t vcpu = 1; vcpu < 1024; vcpu += 2)
        odd.push_back(vcpu);
    EXPECT_EQ(vcpu_list(odd), "vCPUs 1-1023 step 2");
    odd.push_back(1024);
    EXPECT_THAT(vcpu_list(odd), StartsWith("vCPUs 1,3,5,7,"));
    EXPECT_THAT(vcpu_list(odd), testing::EndsWith(",... (513)"));
    EXPECT_LT(vcpu_list(odd).size(), 80U);
}

struct ExceptionCase {
    std::uint64_t vector;
    std::string name;
};

TEST(DescribeException, NamesTheVector) {
    for (const auto& [vector, name] :
         {ExceptionCase{0, "#DE (0)"}, ExceptionCase{2, "NMI (2)"}, ExceptionCase{6, "#UD (6)"},
          ExceptionCase{8, "#DF (8)"}, ExceptionCase{13, "#GP (13)"}, ExceptionCase{14, "#PF (14)"},
          ExceptionCase{21, "#CP (21)"}, ExceptionCase{22, "unknown exception (22)"},
          ExceptionCase{~std::uint64_t{0}, "unknown exception (18446744073709551615)"}}) {
        wire::ExceptionReport report{};
        report.vector = vector;
        EXPECT_THAT(describe_exception(report), StartsWith(name + ","));
    }
}

TEST(DescribeException, TellsEveryRegister) {
    wire::ExceptionReport report{};
    report.vector = 14;
    report.error_code = 0x2;
    report.cs = 0x8;
    report.rip = 0x10'1234;
    report.cr2 = 0xdead'beef;
    report.rax = 0xa;
    report.r15 = 0xf15;
    const auto text = describe_exception(report);
    for (const auto* part : {"error code 0x2", "at 0x8:0x101234", "cr2 0xdeadbeef", "rax 0xa,", "r15 0xf15"})
        EXPECT_THAT(text, HasSubstr(part));
}

wire::Record record_of(const std::string& text, std::uint32_t length) {
    wire::Record record{};
    record.length = length;
    std::memset(record.text, 'x', sizeof record.text);
    std::memcpy(record.text, text.data(), std::min(text.size(), sizeof record.text));
    return record;
}

TEST(RecordText, TakesTheLengthGiven) {
    EXPECT_EQ(record_text(record_of("hello", 5)), "hello");
    EXPECT_EQ(record_text(record_of("hello", 2)), "he");
    EXPECT_EQ(record_text(record_of("hello", 0)), "");
}

TEST(RecordText, NeverMoreThanThereIs) {
    for (const std::uint32_t length : {240U, 241U, 4096U, ~0U})
        EXPECT_EQ(record_text(record_of("", length)), std::string(wire::record_text_bytes, 'x')) << length;
}

TEST(RecordText, KeepsTheTerminalSafe) {
    EXPECT_EQ(record_text(record_of("a\x1b[31mb\n\r\t\x7f", 11)), "a?[31mb????");
    std::string all(256, ' ');
    for (std::size_t i = 0; i < all.size(); ++i)
        all[i] = static_cast<char>(i);
    wire::Record record{};
    for (std::size_t start = 0; start < all.size(); start += 128) {
        std::memcpy(record.text, all.data() + start, 128);
        record.length = 128;
        for (const char c : record_text(record))
            EXPECT_TRUE(c >= ' ' && c <= '~') << int{c};
    }
    EXPECT_EQ(record_text(record_of(std::string("\0 ~\xff", 4), 4)), "? ~?");
}

TEST(DescribeSnapshot, TellsWhatIsOnItsWay) {
    VcpuSnapshot snapshot;
    EXPECT_EQ(describe_snapshot(3, 5, snapshot)[1], "  local APIC: requested none, in service none");
    snapshot.lapic.regs[0x200] = 0x2;        // vector 1
    snapshot.lapic.regs[0x270 + 3] = '\x80'; // vector 255
    snapshot.lapic.regs[0x110] = 0x1;        // vector 32
    snapshot.events.interrupt.injected = 1;
    snapshot.events.interrupt.nr = 77;
    snapshot.events.nmi.masked = 1;
    EXPECT_EQ(describe_snapshot(3, 5, snapshot)[1],
              "  local APIC: requested 1,255, in service 32; interrupt 77 on its way; NMIs masked");
}

TEST(DescribeSnapshot, TellsWhereItStoodAndWhatItDidLast) {
    VcpuSnapshot snapshot;
    snapshot.mp_state = KVM_MP_STATE_HALTED;
    snapshot.regs.rip = 0x10'0042;
    snapshot.sregs.cs.selector = 8;
    EXPECT_THAT(describe_snapshot(3, 5, snapshot),
                testing::ElementsAre(StartsWith("vCPU 3 (APIC id 5): halted, at 0x8:0x100042"),
                                     HasSubstr("local APIC"), HasSubstr("last exits to user space: none")));
    snapshot.last_exits = {{KVM_EXIT_IO, 0x5e4}, {KVM_EXIT_SHUTDOWN, 0}};
    EXPECT_THAT(describe_snapshot(3, 5, snapshot)[2], HasSubstr("KVM_EXIT_IO 0x5e4, KVM_EXIT_SHUTDOWN 0x0"));
}

} // namespace
} // namespace nestbed::machine
