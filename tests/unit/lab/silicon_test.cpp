#include "lab/silicon.hpp"

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

constexpr const char* turned_off =
    "Next at t=0\n========\nBochs is exiting with the following message:\n"
    "[UNMAP ] Shutdown port: shutdown requested\n========\n(0).[99] [0x0000ffff0066] hlt\n";

TEST(Silicon, IsNamed) {
    EXPECT_EQ(parse_silicon("amd"), Silicon::amd);
    EXPECT_EQ(parse_silicon("intel"), Silicon::intel);
    EXPECT_FALSE(parse_silicon("AMD"));
}

TEST(Silicon, AMachinesEndIsNotTheEmulators) {
    EXPECT_TRUE(is_machines_end(Silicon::amd, 0, ""));
    EXPECT_FALSE(is_machines_end(Silicon::amd, 1, "shutdown requested"));
    EXPECT_TRUE(is_machines_end(Silicon::intel, 1, turned_off));
    EXPECT_TRUE(
        is_machines_end(Silicon::intel, 1, "[CPU0 ] exception(): 3rd (13) exception with no resolution"));
    EXPECT_FALSE(is_machines_end(Silicon::intel, 1, "bochsrc:1: unknown parameter"));
}

TEST(Silicon, OnKvmItIsNestbedThatEnds) {
    for (const auto silicon : {Silicon::amd, Silicon::intel}) {
        EXPECT_TRUE(is_machines_end(silicon, 0, "", Engine::kvm));
        EXPECT_TRUE(is_machines_end(silicon, 1, "", Engine::kvm)) << "the guest panicked";
        EXPECT_FALSE(is_machines_end(silicon, 3, "shutdown requested", Engine::kvm));
        EXPECT_FALSE(is_machines_end(silicon, 137, "", Engine::kvm));
        EXPECT_STREQ(emulator_of(silicon, Engine::kvm).vendor_module, emulator_of(silicon).vendor_module);
        EXPECT_STREQ(emulator_of(silicon, Engine::kvm).kernel_words, emulator_of(silicon).kernel_words);
        EXPECT_STREQ(emulator_of(silicon, Engine::kvm).program, "nestbed");
    }
}

TEST(Silicon, LastWordsAreThoseOfTheEnd) {
    EXPECT_EQ(last_words(Silicon::intel, turned_off), "[UNMAP ] Shutdown port: shutdown requested");
    EXPECT_EQ(last_words(Silicon::intel, "killed\n"), "killed");
    EXPECT_EQ(last_words(Silicon::amd, "qemu: no\n \n"), "qemu: no");
}

} // namespace
} // namespace nestbed::lab
