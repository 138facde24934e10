#include "report/text.hpp"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
    std::istringstream stream{text};
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

std::size_t widest(const std::string& text) {
    std::size_t most = 0;
    for (const auto& line : lines_of(text))
        most = std::max(most, line.size());
    return most;
}

TEST(PlanText, ShowsWhichVcpusShareAPu) {
    const auto host = test::example_host(1, 2);
    auto plan = test::example_plan(host, 288);
    for (auto& placement : plan.vcpus)
        placement.pus = {placement.vcpu / 144};
    const auto text = format_plan(plan, host);
    EXPECT_THAT(text, HasSubstr("\n  PU 0: vCPUs 0-143 (144)\n  PU 1: vCPUs 144-287 (144)\n"));
    EXPECT_THAT(text,
                HasSubstr("Guest  288 vCPUs, topology 1x1x288x1, APIC ids up to 287, 1 GiB in 2M pages\n"));
    EXPECT_THAT(text, HasSubstr("numa: 144 vCPUs on each PU used"));
    EXPECT_THAT(text, HasSubstr("2 of 2 PUs allowed"));
    EXPECT_THAT(text, HasSubstr("  - one virtual node per host node\n"));
    EXPECT_THAT(text, HasSubstr("  - vCPUs 0-287: its virtual node lives on host node 0\n"));
    EXPECT_THAT(text, HasSubstr("  - virtual node 0: an equal share of the memory\n"));
}

TEST(PlanText, ShowsVcpusThatAreNotPinned) {
    const auto host = test::example_host(1, 2);
    auto plan = test::example_plan(host, 4);
    plan.min_vcpus_per_pu = plan.max_vcpus_per_pu = 0;
    plan.nodes[0].host_node.reset();
    for (auto& placement : plan.vcpus)
        placement.pus.clear();
    plan.vcpus[3].pus = {0, 1};
    const auto text = format_plan(plan, host);
    EXPECT_THAT(text, HasSubstr("  any PU: vCPUs 0-2 (3)\n  PUs 0-1: vCPU 3 (1)\n"));
    EXPECT_THAT(text, HasSubstr("no vCPU is pinned"));
    EXPECT_THAT(text, HasSubstr("\n      0    any       1 GiB  0-3 "));
}

TEST(PlanText, FoldsVcpusThatTakeTurns) {
    const auto host = test::example_host(1, 2);
    auto plan = test::example_plan(host, 1024);
    for (auto& placement : plan.vcpus)
        placement.pus = {placement.vcpu % 2};
    EXPECT_THAT(format_plan(plan, host),
                HasSubstr("  PU 0: vCPUs 0-1022 step 2 (512)\n  PU 1: vCPUs 1-1023 step 2 (512)\n"));
}

TEST(PlanText, HasARowPerNodeWhereThePusAreTooMany) {
    const auto host = test::example_host(16, 256);
    const auto plan = test::example_plan(host, 1024);
    const auto text = format_plan(plan, host);
    EXPECT_LE(lines_of(text).size(), 60U);
    EXPECT_LE(widest(text), 100U);
    EXPECT_THAT(text,
                HasSubstr("\n     15     15       1 GiB  960-1023                            3840-3903\n"));
    EXPECT_THAT(text, Not(HasSubstr("PU 0:"))) << "it would have a line for each of 1024 PUs";
    EXPECT_THAT(text, HasSubstr("  ... and 10 more reasons\n"));
}

TEST(PlanText, ShowsTheHostNodesWhereTheGuestHasOtherOnes) {
    const auto host = test::example_host(16, 256);
    auto plan = test::example_plan(host, 1024);
    plan.nodes.resize(1);
    for (auto& placement : plan.vcpus) {
        placement.virtual_node = 0;
        placement.pus = {placement.vcpu % 16 * 256 + placement.vcpu / 16};
    }
    const auto text = format_plan(plan, host);
    EXPECT_THAT(text, HasSubstr("\n  node 0, PUs 0-63: vCPUs 0-1008 step 16 (64)\n"));
    EXPECT_THAT(text, HasSubstr("\n  node 15, PUs 3840-3903: vCPUs 15-1023 step 16 (64)\n"));
    EXPECT_LE(lines_of(text).size(), 60U);
    EXPECT_LE(widest(text), 100U);
}

TEST(PlanText, StaysShortOnAnyHost) {
    for (const std::uint32_t nodes : {1U, 2U, 17U, 18U, 64U, 256U})
        for (const std::uint32_t vcpus : {1U, 288U, 1024U}) {
            const auto host = test::example_host(nodes, 4096 / nodes);
            auto plan = test::example_plan(host, vcpus);
            for (auto& placement : plan.vcpus) // a reason for each, all of them long
                placement.reason = fmt::format("vCPU {} {}", placement.vcpu,
                                               std::string(20, 'x') + " and so on, " + std::string(30, 'y'));
            plan.notes.assign(20,
                              "a note of some length that says why the plan is what it is, in so many words "
                              "that it needs more than one line");
            const auto text = format_plan(plan, host);
            EXPECT_LE(lines_of(text).size(), 62U) << nodes << " nodes, " << vcpus << " vCPUs\n" << text;
            EXPECT_LE(widest(text), 100U) << text;
        }
}

TEST(PlanText, SaysHowMuchIsLeftOut) {
    const auto host = test::example_host(18, 4);
    const auto plan = test::example_plan(host, 72);
    EXPECT_THAT(format_plan(plan, host), HasSubstr("  ... and 2 more virtual nodes\n"));
    const auto fits = test::example_host(17, 4);
    EXPECT_THAT(format_plan(test::example_plan(fits, 68), fits), Not(HasSubstr("more virtual nodes")));
}

TEST(PlanText, LeavesNothingOutWhereItIsVerbose) {
    const auto host = test::example_host(18, 4);
    const auto plan = test::example_plan(host, 72);
    const auto text = format_plan(plan, host, Verbosity::verbose);
    EXPECT_THAT(text, Not(HasSubstr("... and")));
    for (const auto& placement : plan.vcpus) {
        EXPECT_THAT(text,
                    HasSubstr(fmt::format("\n  PU {}: vCPU {} (1)\n", placement.pus[0], placement.vcpu)));
        EXPECT_THAT(text,
                    HasSubstr(fmt::format("\n  {:>6}  {:>7}  {:>5}  {}\n", placement.vcpu, placement.apic_id,
                                          placement.virtual_node, placement.pus[0])));
    }
    for (std::uint32_t node = 0; node < 18; ++node)
        EXPECT_THAT(text, HasSubstr(fmt::format("its virtual node lives on host node {}\n", node)));
}

TEST(PlanText, WrapsLongNotesAtBlanksAndKeepsTheirWords) {
    const auto host = test::example_host(1, 2);
    auto plan = test::example_plan(host, 1);
    std::string note;
    for (int i = 0; i < 60; ++i)
        note += fmt::format("{}word{}", i == 0 ? "" : " ", i);
    plan.notes = {note};
    const auto text = format_plan(plan, host);
    EXPECT_LE(widest(text), 100U);
    EXPECT_THAT(text, AllOf(HasSubstr("  - word0 word1 "), HasSubstr("\n    word")));
    std::string joined;
    for (const auto& line : lines_of(text))
        joined += line.substr(std::min(line.find_first_not_of(' '), line.size())) + ' ';
    EXPECT_THAT(joined, HasSubstr(note));
}

} // namespace
} // namespace nestbed::report
