#include "nested/conform/place.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::conform {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ExtensionsOf, WhatThePatternsSay) {
    const auto of = [](const std::vector<std::string>& patterns) { return extensions_of(patterns); };
    EXPECT_THAT(of({}), IsEmpty());
    EXPECT_THAT(of({"*", "s*", "svmx", "vm?.x"}), IsEmpty());
    EXPECT_THAT(of({"vmx.*"}), ElementsAre("vmx"));
    EXPECT_THAT(of({"svm.io.*", "vmx.exit.cpuid"}), ElementsAre("svm", "vmx"));
}

TEST(ChoosePlace, WhatIsAskedForIsNotDecided) {
    const std::vector<std::string> vmx{"vmx"};
    EXPECT_EQ(choose_place(Where::host, vmx).where, Where::host);
    EXPECT_EQ(choose_place(Where::lab, vmx).where, Where::lab);
    EXPECT_NE(choose_place(Where::automatic, vmx).where, Where::automatic);
}

} // namespace
} // namespace nestbed::conform
