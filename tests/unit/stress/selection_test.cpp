#include "stress/selection.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using testing::HasSubstr;

TEST(Selection, TakesEverythingWithoutPatterns) {
    EXPECT_TRUE(selected({}, "ipi.unicast"));
    EXPECT_TRUE(check_patterns({}));
}

TEST(Selection, MatchesAsAShellDoes) {
    EXPECT_TRUE(selected({"ipi.*"}, "ipi.unicast"));
    EXPECT_TRUE(selected({"tsc.*", "ipi.nmi"}, "ipi.nmi"));
    EXPECT_TRUE(selected({"ipi.[nu]*"}, "ipi.unicast"));
    EXPECT_FALSE(selected({"ipi.nmi"}, "ipi.nmi_broadcast")) << "the whole name";
    EXPECT_FALSE(selected({"ipi"}, "ipi.nmi"));
    EXPECT_FALSE(selected({""}, "ipi.nmi"));
}

TEST(CheckPatterns, KnowsEveryCheckAndTheTeardown) {
    EXPECT_TRUE(check_patterns({"ipi.*", "cpuid.readback", std::string{teardown_name}}));
}

TEST(CheckPatterns, RefusesOneThatMatchesNothing) {
    for (const auto* const bad : {"frobnicate", "", "[", "ipi"}) {
        const auto checked = check_patterns({"ipi.*", bad});
        ASSERT_FALSE(checked) << bad;
        EXPECT_EQ(checked.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(checked.error().asked, HasSubstr(std::string{"\""} + bad + "\""));
        EXPECT_THAT(checked.error().remedy, HasSubstr("ipi.unicast"));
        EXPECT_THAT(checked.error().remedy, HasSubstr(teardown_name));
    }
}

} // namespace
} // namespace nestbed::stress
