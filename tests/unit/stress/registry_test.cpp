#include "stress/drivers/registry.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

// What one vCPU, or one pair, does at a time does not scale; nor do machines that grow with their vCPUs.
TEST(Drivers, ThatAreNotParallelWorkSayWhy) {
    std::vector<std::string> names;
    for (const auto& [name, why] : not_parallel_drivers()) {
        names.push_back(name);
        EXPECT_GT(why.size(), 10U) << name;
    }
    EXPECT_THAT(names, testing::ElementsAre("c2c", "churn", "ipi-matrix", "ipi.broadcast", "l2-kill",
                                            "l2-tlb", "tlb"));
}

TEST(Drivers, HaveNamesOfTheirOwnAndPromiseSomething) {
    std::vector<std::string_view> names;
    for (const auto& driver : all_drivers()) {
        EXPECT_THAT(names, testing::Not(testing::Contains(driver.name)));
        names.push_back(driver.name);
        for (const auto text : {driver.title, driver.invariant, driver.unit})
            EXPECT_FALSE(text.empty()) << driver.name;
        EXPECT_NE(driver.run, nullptr) << driver.name;
    }
    EXPECT_GT(names.size(), 20U);
}

} // namespace
} // namespace nestbed::stress
