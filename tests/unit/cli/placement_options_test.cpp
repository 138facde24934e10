#include "cli/placement_options.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::cli {
namespace {

using testing::HasSubstr;

// As the command line would have them.
Result<stress::MachineRequest> read(std::vector<std::string> arguments) {
    CLI::App app;
    PlacementOptions options;
    options.add_to(app);
    std::ranges::reverse(arguments); // CLI11 takes them from the back
    app.parse(std::move(arguments));
    return options.read();
}

TEST(PlacementOptions, LeaveEmptyWhatWasNotGiven) {
    const auto request = read({});
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->vcpus, std::nullopt);
    EXPECT_FALSE(request->all_vcpus);
    EXPECT_EQ(request->memory_bytes, std::nullopt);
    EXPECT_EQ(request->policy, topology::Policy::numa);
    EXPECT_EQ(request->page_size, topology::PageSize::base);
    EXPECT_EQ(request->shape, std::nullopt);
}

TEST(PlacementOptions, ReadEachValue) {
    const auto request = read({"--vcpus", "48", "--memory", "3G", "--policy", "scatter", "--hugepages", "2M",
                               "--topology", "2x12x2"});
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->vcpus, 48U);
    EXPECT_FALSE(request->all_vcpus);
    EXPECT_EQ(request->memory_bytes, 3 * GiB);
    EXPECT_EQ(request->policy, topology::Policy::scatter);
    EXPECT_EQ(request->page_size, topology::PageSize::huge_2m);
    EXPECT_EQ(request->shape, (topology::Shape{.sockets = 2, .dies = 1, .cores = 12, .threads = 2}));
}

TEST(PlacementOptions, TakeAllVcpus) {
    const auto request = read({"--vcpus", "max"});
    ASSERT_TRUE(request);
    EXPECT_TRUE(request->all_vcpus);
    EXPECT_EQ(request->vcpus, std::nullopt);
}

TEST(PlacementOptions, RefuseWhatMeansNothing) {
    struct Case {
        std::string option;
        std::string value;
    };
    for (const auto& [option, value] :
         {Case{"--vcpus", "0"}, Case{"--vcpus", "-1"}, Case{"--vcpus", "1e3"}, Case{"--vcpus", "Max"},
          Case{"--vcpus", "1048577"}, Case{"--memory", "1.5G"}, Case{"--memory", "lots"},
          Case{"--policy", "best"}, Case{"--policy", "random:x"}, Case{"--policy", "traffic:star"},
          Case{"--plan", "/nonexistent/plan.toml"}, Case{"--hugepages", "4M"}, Case{"--topology", "2x"},
          Case{"--topology", "0x1x1"}}) {
        const auto request = read({option + "=" + value});
        ASSERT_FALSE(request) << option << ' ' << value;
        EXPECT_EQ(request.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(request.error().message(), HasSubstr(value));
        EXPECT_FALSE(request.error().remedy.empty()) << option << ' ' << value;
    }
}

} // namespace
} // namespace nestbed::cli
