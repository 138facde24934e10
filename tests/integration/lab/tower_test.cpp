// `nestbed tower` where there is SVM: in the lab, whose host is emulated, so that it takes minutes.
#include <chrono>
#include <iostream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lab/process.hpp"
#include "tests/integration/lab/in_lab.hpp"

namespace nestbed::lab {
namespace {

using namespace std::chrono_literals;

class TowerInLab : public InLab {
protected:
    Result<Finished> build_tower() {
        return run_to_end({.arguments = {NESTBED_PROGRAM, "lab", "--", "tower", "-o", "out"},
                           .folder = folder().string(),
                           .environment = {},
                           .descriptors = {}},
                          supervisor(), supervise::Clock::now() + 750s);
    }
};

TEST_F(TowerInLab, EveryLevelReportsUpward) {
    auto ran = build_tower();
    ASSERT_TRUE(ran) << ran.error().message();
    // An emulated Linux sleeps over an interrupt now and then, see lab::default_shape(): a vCPU then waits
    // for ever. What is nestbed's or KVM's fault happens again.
    if (ran->exit_code == 1 && ran->out.find("not finished after") != std::string::npos) {
        std::cout << "once more, since a vCPU waited in vain:\n" << ran->out;
        ran = build_tower();
        ASSERT_TRUE(ran) << ran.error().message();
    }
    EXPECT_EQ(ran->exit_code, 0) << ran->out << ran->err;
    const auto tower = nlohmann::json::parse(read(folder() / "out/run.json"), nullptr, false);
    ASSERT_TRUE(tower.is_object()) << ran->err;
    EXPECT_EQ(tower["kind"], "tower");
    EXPECT_EQ(tower["outcome"], "passed");
    std::vector<std::string> passed;
    for (const auto& check : tower["checks"])
        if (check["verdict"] == "pass")
            passed.push_back(check["name"]);
    EXPECT_THAT(passed,
                testing::IsSupersetOf({"level0.nested", "level1.linux", "level1.boot.ending",
                                       "level1.command", "level2.bringup.online", "level2.nested.l2_exits"}));
    const auto payload = nlohmann::json::parse(read(folder() / "out/inside/run.json"), nullptr, false);
    ASSERT_TRUE(payload.is_object());
    EXPECT_EQ(payload["host"]["module_parameters"]["kvm_amd.nested"], "1");
}

} // namespace
} // namespace nestbed::lab
