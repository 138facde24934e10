// The machine's integration tests in the lab, on hosts whose KVM cannot be used: so that they run everywhere.
#include "lab/lab.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"

namespace nestbed::lab {
namespace {

TEST(MachineInLab, TestsPass) {
    // NESTBED_TESTS_IN_LAB=1 asks for them where they run without a lab, too.
    if (kvm::Kvm::open() && std::getenv("NESTBED_TESTS_IN_LAB") == nullptr)
        GTEST_SKIP() << "this host's KVM can be used: integration_machine runs on it directly";
    const auto supervisor = supervise::Supervisor::create();
    ASSERT_TRUE(supervisor) << supervisor.error().message();
    LabRequest request;
    request.program = NESTBED_MACHINE_TESTS;
    request.arguments = {"--gtest_color=no", "--gtest_brief=1"};
    request.timeout = std::chrono::minutes{15};
    std::string text;
    const auto ran = run(request,
                         {.out = [&](std::string_view bytes) { text += bytes; },
                          .err = [&](std::string_view bytes) { text += bytes; },
                          .progress = [](const std::string&) {},
                          .again = [&](const Error&) { text.clear(); }},
                         **supervisor);
    if (!ran && ran.error().kind == ErrorKind::host_lacks)
        GTEST_SKIP() << "needs the lab: " << ran.error().message();
    ASSERT_TRUE(ran) << ran.error().message() << text;
    EXPECT_EQ(ran->exit_code, 0) << text;
    EXPECT_NE(text.find("[  PASSED  ]"), std::string::npos) << text;
}

} // namespace
} // namespace nestbed::lab
