#include "lab/paths.hpp"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

struct PathsCase {
    std::string name;
    std::vector<std::string> arguments;
    std::vector<Path> inputs;
    std::vector<Path> outputs; // besides /w/results
};

class Paths : public testing::TestWithParam<PathsCase> {};

TEST_P(Paths, AreWhatTheArgumentsName) {
    const std::set<Path> files{"/w/host.xml", "/h/host.xml",    "/w/a=b",      "/w/out/old.json",
                               "/w/ipis.csv", "/w/one,two.csv", "/w/plan.toml"};
    const auto& one = GetParam();
    EXPECT_EQ(input_files(one.arguments, "/w", [&](const Path& path) { return files.contains(path); }),
              one.inputs);
    std::vector<Path> outputs{"/w/results"};
    outputs.insert(outputs.end(), one.outputs.begin(), one.outputs.end());
    EXPECT_EQ(output_roots(one.arguments, "/w"), outputs);
}

INSTANTIATE_TEST_SUITE_P(
    All, Paths,
    testing::Values(PathsCase{"None", {"validate", "--vcpus", "4"}, {}, {}},
                    PathsCase{"AFile", {"plan", "--host", "host.xml"}, {"/w/host.xml"}, {}},
                    PathsCase{"AFileTwice", {"host.xml", "./host.xml"}, {"/w/host.xml"}, {}},
                    PathsCase{"AFileElsewhere", {"../h/host.xml"}, {"/h/host.xml"}, {}},
                    PathsCase{"AttachedFile", {"--host=/h/host.xml"}, {"/h/host.xml"}, {}},
                    PathsCase{
                        "WithinAnArgument",
                        {"--disk", "file=host.xml,ro", "--policy=traffic:/h/host.xml", "ro,out/old.json"},
                        {"/w/host.xml", "/h/host.xml", "/w/out/old.json"},
                        {}},
                    PathsCase{"EqualsInTheName", {"a=b"}, {"/w/a=b"}, {}},
                    PathsCase{"NoSuchFile", {"--host=nowhere", "nowhere"}, {}, {}},
                    PathsCase{"Folder", {"-o", "out"}, {}, {"/w/out"}},
                    PathsCase{"FolderWithSlash", {"--output", "out/"}, {}, {"/w/out"}},
                    PathsCase{"AttachedFolder", {"--output=/x/../out"}, {}, {"/out"}},
                    PathsCase{"ShortAttached", {"-oout"}, {}, {"/w/out"}},
                    PathsCase{"Files", {"--tap", "t.tap", "--junit=/x/j.xml"}, {}, {"/w/t.tap", "/x/j.xml"}},
                    PathsCase{"AnOutputIsNoInput",
                              {"--tap", "host.xml", "--html=out/old.json"},
                              {},
                              {"/w/host.xml", "/w/out/old.json"}},
                    PathsCase{"PlanFile", {"validate", "--plan", "plan.toml"}, {"/w/plan.toml"}, {}},
                    PathsCase{"AttachedPlanFile", {"--plan=./plan.toml"}, {"/w/plan.toml"}, {}},
                    PathsCase{"PolicyOfAFile",
                              {"--policy", "file:plan.toml", "--policy=traffic:ipis.csv"},
                              {"/w/plan.toml", "/w/ipis.csv"},
                              {}},
                    PathsCase{"Traffic", {"--traffic", "ipis.csv"}, {"/w/ipis.csv"}, {}},
                    PathsCase{"Policies",
                              {"--compare", "numa,traffic:ipis.csv,llc,file:/w/plan.toml"},
                              {"/w/ipis.csv", "/w/plan.toml"},
                              {}},
                    PathsCase{"CommaInTheName", {"traffic:one,two.csv"}, {"/w/one,two.csv"}, {}},
                    PathsCase{"PatternsAreNoFiles", {"--policy", "traffic:groups:4", "traffic:"}, {}, {}},
                    PathsCase{"WrittenPlanAndPicture",
                              {"--write", "plan.toml", "--svg=x/p.svg"},
                              {},
                              {"/w/plan.toml", "/w/x/p.svg"}},
                    PathsCase{"ValueMissing", {"-o"}, {}, {}},
                    PathsCase{"EmptyValue", {"--output="}, {}, {}}),
    [](const auto& one) { return one.param.name; });

TEST(RootOf, IsByWholeNames) {
    const std::vector<Path> roots{"/w/results", "/x/j.xml"};
    for (const auto* const inside : {"/w/results", "/w/results/run.json", "/w/results/a/b", "/x/j.xml"})
        EXPECT_NE(root_of(inside, roots), nullptr) << inside;
    for (const auto* const outside :
         {"", "run.json", "/w", "/w/results2/run.json", "/w/results/../../etc/passwd", "/w/results/./x/..",
          "/x/j.xml.bak", "/etc/passwd", "/w/results/.."})
        EXPECT_EQ(root_of(outside, roots), nullptr) << outside;
}

TEST(TakesKernelAlong, OnlyWhatBootsLinuxByItself) {
    EXPECT_TRUE(takes_kernel_along({"tower"}));
    EXPECT_FALSE(takes_kernel_along({"boot", "tower"}));
    EXPECT_FALSE(takes_kernel_along({}));
}

} // namespace
} // namespace nestbed::lab
