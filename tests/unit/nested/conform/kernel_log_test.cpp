#include "nested/conform/kernel_log.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace nestbed::conform {
namespace {

using report::Verdict;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// As Linux 6.1 writes it to /dev/kmsg.
constexpr const char* warning = "4,801,5000123,-;------------[ cut here ]------------\n"
                                "4,802,5000124,-;WARNING: CPU: 0 PID: 97 at arch/x86/kvm/svm/nested.c:1118 "
                                "svm_free_nested+0x4f/0x60\n"
                                "4,803,5000125,-;Call Trace:\n"
                                " SUBSYSTEM=none\n"
                                "4,804,5000126,-; kvm_arch_destroy_vm+0x10/0x20\n"
                                "4,805,5000127,-;---[ end trace 0000000000000000 ]---\n"
                                "6,806,5000128,-;and so on\n";

TEST(ComplaintsIn, IsTheWholeComplaintAndNoMore) {
    EXPECT_THAT(
        complaints_in(warning),
        ElementsAre("WARNING: CPU: 0 PID: 97 at arch/x86/kvm/svm/nested.c:1118 svm_free_nested+0x4f/0x60",
                    "Call Trace:", " kvm_arch_destroy_vm+0x10/0x20", "---[ end trace 0000000000000000 ]---"));
}

TEST(ComplaintsIn, TellsComplaintsFromNews) {
    struct Row {
        const char* text;
        bool complaint;
    };
    for (const auto& [text, complaint] :
         {Row{"BUG: KASAN: slab-use-after-free in nested_svm_vmexit+0x1/0x2", true},
          Row{"BUG: kernel NULL pointer dereference, address: 0000000000000008", true},
          Row{"kernel BUG at arch/x86/kvm/x86.c:7215!", true},
          Row{"WARNING: arch/x86/kvm/x86.c:12183 at kvm_vcpu_reset+0x1/0x2, CPU#0: nestbed/97", true},
          Row{"general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", true},
          Row{"unchecked MSR access error: WRMSR to 0x48 at rIP: 0xffffffff81000000", true},
          Row{"UBSAN: shift-out-of-bounds in arch/x86/kvm/svm/nested.c:1", true},
          Row{"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", false},
          Row{"watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [nestbed:97]", false},
          Row{"kvm [97]: vcpu0, guest rIP: 0x1000 unhandled wrmsr: 0x1 data 0x0", false},
          Row{"Warning: unable to open an initial console.", false}})
        EXPECT_THAT(complaints_in(std::string{"4,1,2,-;"} + text + "\n"), SizeIs(complaint ? 1 : 0)) << text;
}

TEST(ComplaintsIn, IsBoundedAndPrintable) {
    std::string records = "4,1,2,-;BUG: \x1b[31m" + std::string(500, 'x') + "\n";
    for (int i = 0; i < 1000; ++i)
        records += "4,1,2,-;line\n";
    const auto lines = complaints_in(records);
    EXPECT_THAT(lines, SizeIs(60));
    EXPECT_EQ(lines.front().size(), 200U);
    EXPECT_EQ(lines.front().substr(0, 11), "BUG: ?[31mx");
    EXPECT_THAT(complaints_in(""), IsEmpty());
    EXPECT_THAT(complaints_in("no record"), IsEmpty());
    EXPECT_THAT(complaints_in("4,1,2,-;BUG: x"), ElementsAre("BUG: x"));
}

TEST(KernelLog, BeginsAtItsEndAndGoesOn) {
    const auto path =
        (std::filesystem::temp_directory_path() / ("nestbed-kmsg-" + std::to_string(::getpid()))).string();
    std::ofstream{path} << "4,1,2,-;BUG: of another test\n";
    auto log = KernelLog::from_now(path);
    EXPECT_THAT(log.complaints(), IsEmpty());
    std::ofstream{path, std::ios::app} << warning;
    EXPECT_THAT(log.complaints(), SizeIs(4));
    EXPECT_THAT(log.complaints(), IsEmpty());
    std::filesystem::remove(path);
    EXPECT_THAT(KernelLog::from_now(path).complaints(), IsEmpty());
}

report::CheckResult a_result(Verdict verdict) {
    report::CheckResult result;
    result.verdict = verdict;
    result.summary = "as it was";
    if (verdict == Verdict::not_applicable)
        result.reason = "not offered";
    return result;
}

TEST(AddComplaints, FailsWhatHadNotFailed) {
    for (const auto verdict : {Verdict::pass, Verdict::not_applicable}) {
        auto result = a_result(verdict);
        add_complaints(result, {"BUG: x", "Call Trace:"});
        EXPECT_EQ(result.verdict, Verdict::fail);
        EXPECT_EQ(result.summary, "the host's kernel complained: BUG: x");
        EXPECT_EQ(result.reason, "");
        EXPECT_THAT(result.details,
                    ElementsAre("the host's kernel, while the test ran:", "  BUG: x", "  Call Trace:"));
    }
    for (const auto verdict : {Verdict::fail, Verdict::hang, Verdict::crash}) {
        auto result = a_result(verdict);
        add_complaints(result, {"BUG: x"});
        EXPECT_EQ(result.verdict, verdict);
        EXPECT_EQ(result.summary, "as it was");
        EXPECT_THAT(result.details, SizeIs(2));
    }
}

TEST(AddComplaints, LeavesAQuietTestAlone) {
    auto result = a_result(Verdict::pass);
    add_complaints(result, {});
    EXPECT_EQ(result.verdict, Verdict::pass);
    EXPECT_THAT(result.details, IsEmpty());
}

} // namespace
} // namespace nestbed::conform
