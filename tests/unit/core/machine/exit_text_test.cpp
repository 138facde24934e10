#include "core/machine/exit_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::machine {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(ExitText, NamesKnownExitsAndNumbersOthers) {
    EXPECT_EQ(exit_text(0), "KVM_EXIT_UNKNOWN");
    EXPECT_EQ(exit_text(2), "KVM_EXIT_IO");
    EXPECT_EQ(exit_text(5), "KVM_EXIT_HLT");
    EXPECT_EQ(exit_text(6), "KVM_EXIT_MMIO");
    EXPECT_EQ(exit_text(8), "KVM_EXIT_SHUTDOWN");
    EXPECT_EQ(exit_text(9), "KVM_EXIT_FAIL_ENTRY");
    EXPECT_EQ(exit_text(17), "KVM_EXIT_INTERNAL_ERROR");
    EXPECT_EQ(exit_text(39), "KVM_EXIT_MEMORY_FAULT");
    EXPECT_EQ(exit_text(99), "exit 99");
    EXPECT_EQ(exit_text(~0U), "exit 4294967295");
}

TEST(DescribeFatalExit, SaysWhatKvmSays) {
    kvm_run shared{};
    shared.exit_reason = KVM_EXIT_SHUTDOWN;
    EXPECT_EQ(describe_fatal_exit(shared), "KVM_EXIT_SHUTDOWN: a triple fault");

    shared.exit_reason = KVM_EXIT_FAIL_ENTRY;
    shared.fail_entry.hardware_entry_failure_reason = 0x8000'0021;
    shared.fail_entry.cpu = 7;
    EXPECT_EQ(describe_fatal_exit(shared), "KVM_EXIT_FAIL_ENTRY, hardware reason 0x80000021, on CPU 7");

    shared = {};
    shared.exit_reason = KVM_EXIT_SYSTEM_EVENT;
    shared.system_event.type = KVM_SYSTEM_EVENT_RESET;
    EXPECT_EQ(describe_fatal_exit(shared), "KVM_EXIT_SYSTEM_EVENT, type 2");

    shared = {};
    shared.exit_reason = 99;
    EXPECT_THAT(describe_fatal_exit(shared), HasSubstr("exit 99"));
}

TEST(DescribeFatalExit, TellsTheDataOfAnInternalErrorWithinItsBounds) {
    kvm_run shared{};
    shared.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    shared.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    shared.internal.ndata = 2;
    for (std::uint64_t i = 0; i < 16; ++i)
        shared.internal.data[i] = 0xd0 + i;
    EXPECT_EQ(describe_fatal_exit(shared),
              "KVM_EXIT_INTERNAL_ERROR, suberror 1 (emulation failed), data 0xd0 0xd1");

    shared.internal.suberror = 1234;
    shared.internal.ndata = 0;
    EXPECT_EQ(describe_fatal_exit(shared), "KVM_EXIT_INTERNAL_ERROR, suberror 1234 (unknown suberror)");

    shared.internal.ndata = ~0U; // 16 are all there is room for
    EXPECT_THAT(describe_fatal_exit(shared), EndsWith("0xde 0xdf"));
}

TEST(MpStateText, NamesStates) {
    EXPECT_EQ(mp_state_text(KVM_MP_STATE_RUNNABLE), "runnable");
    EXPECT_THAT(mp_state_text(KVM_MP_STATE_UNINITIALIZED), HasSubstr("waits for INIT"));
    EXPECT_THAT(mp_state_text(KVM_MP_STATE_INIT_RECEIVED), HasSubstr("waits for SIPI"));
    EXPECT_EQ(mp_state_text(KVM_MP_STATE_HALTED), "halted");
    EXPECT_EQ(mp_state_text(77), "mp_state 77");
}

} // namespace
} // namespace nestbed::machine
