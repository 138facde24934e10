#include "base/edit_distance.hpp"

#include <array>

#include <gtest/gtest.h>

namespace nestbed {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsAndChanges) {
    EXPECT_EQ(edit_distance("", ""), 0U);
    EXPECT_EQ(edit_distance("ept", "ept"), 0U);
    EXPECT_EQ(edit_distance("", "ept"), 3U);
    EXPECT_EQ(edit_distance("ept", ""), 3U);
    EXPECT_EQ(edit_distance("ept", "vpt"), 1U);
    EXPECT_EQ(edit_distance("ept", "eptx"), 1U);
    EXPECT_EQ(edit_distance("etp", "ept"), 2U);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(EditDistance, FindsTheNearest) {
    constexpr std::array<std::string_view, 3> names{"vpid", "shadow_vmcs", "pml"};
    EXPECT_EQ(nearest("shadowvmcs", names), "shadow_vmcs");
    EXPECT_EQ(nearest("vpml", names), "pml");
    EXPECT_EQ(nearest("", names), "pml");
    EXPECT_EQ(nearest("x", {}), "");
}

} // namespace
} // namespace nestbed
