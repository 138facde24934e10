#include "cli/plan_command.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <stdlib.h> // mkdtemp

namespace nestbed::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::string two_nodes = "numa:2(memory=8GB) core:2 pu:2";

struct Ran {
    int exit_code = 0;
    std::string out, err;

    [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

class PlanCommand : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-plan-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    [[nodiscard]] std::string path(const std::string& name) const { return (_folder / name).string(); }
    [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
        std::ofstream{path(name), std::ios::binary} << text;
        return path(name);
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ostringstream text;
        text << std::ifstream{path(name), std::ios::binary}.rdbuf();
        return text.str();
    }

private:
    std::filesystem::path _folder;
};

Ran run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "plan");
    CLI::App app;
    Action action;
    add_plan_command(app, action);
    std::ranges::reverse(arguments); // CLI11 takes them from the back
    app.parse(std::move(arguments));
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const auto code = action();
    std::fflush(stdout);
    auto out = testing::internal::GetCapturedStdout();
    return {.exit_code = code, .out = std::move(out), .err = testing::internal::GetCapturedStderr()};
}

TEST_F(PlanCommand, ExplainsAPlan) {
    const std::vector<std::string> arguments{"--host",   two_nodes,       "--vcpus",  "4",
                                             "--policy", "traffic:pairs", "--explain"};
    const auto text = run(arguments);
    EXPECT_EQ(text.exit_code, 0) << text.err;
    EXPECT_THAT(text.out,
                AllOf(HasSubstr("Score for traffic pairs\n  mean cost 2.00"), HasSubstr("vCPU 3: PU "),
                      HasSubstr("25.00 % of all cost is its; PU "), HasSubstr("% of all cost\n")));
    auto as_json = arguments;
    as_json.emplace_back("--json");
    const auto json = run(as_json).json();
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["traffic"], "pairs");
    EXPECT_EQ(json["plan"]["policy"], "traffic:pairs");
    EXPECT_EQ(json["score"]["pairs"]["mean_cost"], 2);
    EXPECT_EQ(json["score"]["pairs"]["shared_core"], 1);
    ASSERT_EQ(json["alternatives"].size(), 4U);
    for (const auto& each : json["alternatives"]) {
        EXPECT_EQ(each["share"], 0.25);
        EXPECT_GT(each["change"], 0) << "pairs on siblings have nothing better";
        EXPECT_TRUE(each["pu"].is_number());
    }
}

TEST_F(PlanCommand, ComparesPoliciesTheBestFirst) {
    const std::vector<std::string> arguments{
        "--host",    two_nodes, "--vcpus",   "4",
        "--traffic", "pairs",   "--compare", "interleave,none,traffic:pairs,smt-avoid"};
    auto as_json = arguments;
    as_json.emplace_back("--json");
    const auto ran = run(as_json);
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    const auto json = ran.json();
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["traffic"], "pairs");
    EXPECT_FALSE(json.contains("plan"));
    EXPECT_TRUE(json["host"].is_object());
    std::vector<std::string> order;
    for (const auto& each : json["comparison"])
        order.push_back(each["policy"]);
    // Siblings, a node's cores, nodes; nothing is known of the unpinned.
    EXPECT_THAT(order, ElementsAre("traffic:pairs", "smt-avoid", "interleave", "none"));
    EXPECT_TRUE(json["comparison"][3]["score"]["pairs"].is_null());
    EXPECT_EQ(json["comparison"][0]["shape"], "1x1x2x2");
    const auto table = run(arguments).out;
    EXPECT_THAT(table, StartsWith("Traffic pairs; "));
    EXPECT_LT(table.find("smt-avoid"), table.find("interleave"));
}

TEST_F(PlanCommand, TakesTrafficFromAFile) {
    const auto matrix = write("t.csv", "# 0 with 3, 1 with 2\n0,0,0,1\n0,0,1,0\n0,0,0,0\n0,0,0,0\n");
    const auto ran = run({"--host", two_nodes, "--policy", "traffic:" + matrix, "--json", "--explain"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    const auto json = ran.json();
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["plan"]["vcpus"]["vcpu"].size(), 4U) << "as many as the matrix has rows";
    EXPECT_EQ(json["traffic"], matrix);
    EXPECT_EQ(json["score"]["pairs"]["shared_core"], 1);
    const auto judged = run({"--host", two_nodes, "--vcpus", "4", "--traffic", matrix, "--json"}).json();
    EXPECT_EQ(judged["traffic"], matrix);
    EXPECT_FALSE(judged.contains("alternatives"));
    const auto compared = run({"--host", two_nodes, "--compare", "compact,traffic:" + matrix, "--json"});
    EXPECT_EQ(compared.exit_code, 0) << "as many as the matrix has rows: " << compared.err;
    const auto other = run({"--host", two_nodes, "--vcpus", "5", "--policy", "traffic:" + matrix});
    EXPECT_EQ(other.exit_code, 2);
    EXPECT_THAT(other.err, AllOf(HasSubstr("is of 4 vCPUs"), HasSubstr("--vcpus 4")));
}

TEST_F(PlanCommand, ShowsTheGuestFlatTopologyOnRequest) {
    const auto flat = run({"--host", two_nodes, "--vcpus", "8", "--topology", "flat", "--json"}).json();
    EXPECT_EQ(flat["plan"]["shape"],
              nlohmann::json({{"sockets", 1}, {"dies", 1}, {"cores", 8}, {"threads", 1}}));
    const auto matching =
        run({"--host", two_nodes, "--vcpus", "8", "--topology", "matching", "--json"}).json();
    EXPECT_EQ(matching["plan"]["shape"],
              run({"--host", two_nodes, "--vcpus", "8", "--json"}).json()["plan"]["shape"]);
    EXPECT_NE(matching["plan"]["shape"], flat["plan"]["shape"]);
    EXPECT_EQ(flat["plan"]["vcpus"]["pus"], matching["plan"]["vcpus"]["pus"])
        << "no vCPU is elsewhere for it";
}

TEST_F(PlanCommand, WritesWhatItReads) {
    const auto made = run({"--host", two_nodes, "--vcpus", "6", "--policy", "smt-pair", "--write",
                           path("p.toml"), "--svg", path("p.svg"), "--json"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    EXPECT_THAT(read("p.svg"), AllOf(StartsWith("<svg "), HasSubstr("6 vCPUs by policy smt-pair")));
    const auto again = run({"--host", two_nodes, "--plan", path("p.toml"), "--json"});
    EXPECT_EQ(again.exit_code, 0) << again.err;
    const auto first = made.json()["plan"], second = again.json()["plan"];
    EXPECT_EQ(second["policy"], "file:" + path("p.toml"));
    for (const auto* same : {"shape", "memory_bytes", "distances"})
        EXPECT_EQ(second[same], first[same]) << same;
    EXPECT_EQ(second["vcpus"]["pus"], first["vcpus"]["pus"]);
}

TEST_F(PlanCommand, PagesThatContradictTheFileAreRefused) {
    const auto file =
        write("p.toml", "version = 1\npage_size = \"2M\"\n[[node]]\nmemory = \"16M\"\n[[vcpu]]\n"
                        "vcpus = \"0\"\nnode = 0\n");
    EXPECT_EQ(run({"--host", two_nodes, "--plan", file}).exit_code, 0);
    EXPECT_EQ(run({"--host", two_nodes, "--plan", file, "--hugepages", "2M"}).exit_code, 0);
    for (const auto* other : {"4K", "1G"}) {
        const auto ran = run({"--host", two_nodes, "--plan", file, "--hugepages", other});
        EXPECT_EQ(ran.exit_code, 2) << other;
        EXPECT_THAT(ran.err, HasSubstr(fmt::format("its pages are 2M, asked were {}", other)));
    }
}

// Everything on one PU, and its memory on all nodes: what nobody would choose can be asked for.
TEST_F(PlanCommand, TakesAPlanThatNoPolicyMakes) {
    std::string text = "version = 1\n";
    for (int node = 0; node < 4; ++node)
        text += fmt::format("[[node]]\nmemory = \"16M\"\nhost_node = {}\n", node);
    for (int node = 0; node < 4; ++node)
        text += fmt::format("[[vcpu]]\nvcpus = \"{}-{}\"\nnode = {}\npus = \"0,0\"\n", 2 * node, 2 * node + 1,
                            node);
    const auto file = write("far.toml", text);
    const auto ran =
        run({"--host", "numa:4(memory=1GB) core:2 pu:1", "--plan=" + file, "--explain", "--json"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    const auto json = ran.json();
    ASSERT_TRUE(json.is_object());
    for (std::size_t node = 0; node < 4; ++node)
        EXPECT_EQ(json["plan"]["nodes"][node]["host_node"], node);
    for (const auto& pus : json["plan"]["vcpus"]["pus"])
        EXPECT_EQ(pus, "0");
    EXPECT_EQ(json["score"]["memory_locality"], nlohmann::json({1.0, 0.0, 0.0, 0.0}));
    EXPECT_EQ(json["score"]["max_vcpus_per_pu"], 8);
    EXPECT_THAT(json["plan"]["notes"].dump(), HasSubstr("overcommitted: 8 vCPUs on 1 of 8 PUs, 8 on each"));
    for (const auto& each : json["alternatives"]) {
        EXPECT_EQ(each["pu"], 1) << "free, and beside the others";
        EXPECT_LT(each["change"], 0);
    }
}

struct Refused {
    std::string name;   // of the file, empty: none
    std::string text;   // in it
    std::string option; // before its name, or alone
    std::string message;
};

TEST_F(PlanCommand, RefusesAndSaysWhatAndWhere) {
    const Refused cases[] = {
        {"m.csv", "0,1,2\n1,0,2\n", "--policy=traffic:", "2 rows of 3 numbers: not square"},
        {"m.csv", "0,1\n-1,0\n", "--policy=traffic:", "line 2, column 1: \"-1\" is negative"},
        {"m.csv", "0,nan\n1,0\n", "--policy=traffic:", "line 1, column 2: \"nan\" is not finite"},
        {"m.csv", "0,1e300\n1,0\n", "--policy=traffic:", "is above"},
        {"m.csv", "0,1e400\n1,0\n", "--traffic=", "too large"},
        {"m.csv", "0,1\n1,0\n", "--compare=numa,random:x,traffic:", "random:x"},
        {"m.csv", "0,one\n1,0\n", "--compare=numa,traffic:", "\"one\" is no number"},
        {"p.toml", "version = = 1\n", "--plan=", "line 1"},
        {"p.toml",
         "\x7f"
         "ELF\x02\x01\x01",
         "--plan=", "line 1"},
        {"p.toml", "version = 1\n[[node]]\nmemory = \"1G\"\nhost_nod = 0\n",
         "--plan=", "did you mean host_node?"},
        {"p.toml",
         "version = 1\n[[node]]\nmemory = \"16M\"\nhost_node = 0\n[[vcpu]]\nvcpus = \"0\"\nnode = 0\npus = "
         "\"99\"\n",
         "--policy=file:", "PU 99 is not there"},
        {"", "", "--policy=best", "\"best\""},
        {"", "", "--policy=traffic:star", "policy \"traffic:star\""},
        {"", "", "--traffic=star", "\"star\""},
        {"", "", "--plan=/nonexistent/p.toml", "/nonexistent/p.toml"},
        {"", "", "--svg=/nonexistent/p.svg", "/nonexistent/p.svg"},
        {"", "", "--vcpus=max", "number of vCPUs"},
    };
    for (const auto& each : cases) {
        SCOPED_TRACE(each.option + " " + each.text);
        const auto file = each.name.empty() ? std::string{} : write(each.name, each.text);
        const auto ran = run({"--host", two_nodes, each.option + file});
        EXPECT_EQ(ran.exit_code, 2);
        EXPECT_EQ(ran.out, "");
        EXPECT_THAT(ran.err, HasSubstr(each.message));
    }
    const auto both = run({"--host", two_nodes, "--vcpus", "2", "--compare", "numa", "--explain"});
    EXPECT_EQ(both.exit_code, 2);
    EXPECT_THAT(both.err, HasSubstr("--compare with"));
}

TEST_F(PlanCommand, JudgesUpTo4096VcpusAndBeforeItWrites) {
    const std::vector<std::string> asked{"--host", "core:4 pu:1", "--vcpus", "4097", "--memory", "1G"};
    const std::vector<std::vector<std::string>> questions{
        {"--explain", "--write", path("p.toml"), "--svg", path("p.svg")},
        {"--traffic", "ring", "--write", path("p.toml")},
        {"--compare", "compact,scatter"}};
    for (const auto& question : questions) {
        SCOPED_TRACE(question.front());
        auto arguments = asked;
        arguments.insert(arguments.end(), question.begin(), question.end());
        const auto ran = run(arguments);
        EXPECT_EQ(ran.exit_code, 2);
        EXPECT_THAT(ran.err, AllOf(HasSubstr("judged by traffic, which is known of up to 4096 vCPUs"),
                                   HasSubstr("leave --compare, --explain and --traffic out")));
        EXPECT_FALSE(std::filesystem::exists(path("p.toml")));
        EXPECT_FALSE(std::filesystem::exists(path("p.svg")));
    }
}

TEST_F(PlanCommand, WritesNoFileThatItWouldNotRead) {
    const auto ran = run({"--host", "core:4 pu:1", "--vcpus", "65537", "--memory", "1G", "--write",
                          path("p.toml"), "--svg", path("p.svg")});
    EXPECT_EQ(ran.exit_code, 2);
    EXPECT_THAT(ran.err, AllOf(HasSubstr("a plan file has at most 65536"), HasSubstr("--vcpus 65536")));
    EXPECT_FALSE(std::filesystem::exists(path("p.toml")));
    EXPECT_FALSE(std::filesystem::exists(path("p.svg")));
}

} // namespace
} // namespace nestbed::cli
