#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kvm/kvm.hpp"

namespace nestbed::kvm {
namespace {

using testing::HasSubstr;

struct OpenCase {
    std::string name;
    std::string path;
    std::string found;
    std::string remedy;
};

class OpenKvm : public testing::TestWithParam<OpenCase> {};

TEST_P(OpenKvm, TellsWhyNotAndWhatToDo) {
    const auto kvm = Kvm::open(GetParam().path);
    ASSERT_FALSE(kvm);
    EXPECT_EQ(kvm.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(kvm.error().asked, HasSubstr(GetParam().path));
    EXPECT_THAT(kvm.error().found, HasSubstr(GetParam().found));
    EXPECT_THAT(kvm.error().remedy, HasSubstr(GetParam().remedy));
}

INSTANTIATE_TEST_SUITE_P(All, OpenKvm,
                         testing::Values(OpenCase{"Missing", "/nonexistent/kvm", "ENOENT", "modprobe"},
                                         OpenCase{"AnotherDevice", "/dev/null", "ENOTTY", "no KVM device"},
                                         OpenCase{"AFolder", "/", "EISDIR", "dmesg"}),
                         [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::kvm
