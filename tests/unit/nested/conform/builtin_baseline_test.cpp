#include "nested/conform/builtin_baseline.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/conform/catalog.hpp"
#include "nested/conform/payload.hpp"

namespace nestbed::conform {
namespace {

TEST(TcgBaseline, IsOfThisSuite) {
    const auto cases = all_cases();
    ASSERT_TRUE(cases) << cases.error().message();
    std::vector<std::string> names;
    for (const auto& test : *cases)
        names.push_back(test.name);
    const auto baseline = tcg_baseline(names);
    ASSERT_TRUE(baseline) << baseline.error().message();
    EXPECT_THAT(baseline->machine, testing::HasSubstr("TCG"));
    const auto bochs = bochs_baseline(names);
    ASSERT_TRUE(bochs) << bochs.error().message();
    EXPECT_THAT(bochs->machine, testing::HasSubstr("Bochs"));
}

} // namespace
} // namespace nestbed::conform
