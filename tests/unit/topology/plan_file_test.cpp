#include "topology/plan_file.hpp"

#include <chrono>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "random_host.hpp"
#include "topology/number_list.hpp"

namespace nestbed::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(NumberList, KeepsOrderAndRoundTrips) {
    EXPECT_THAT(*parse_number_list("3,0-2,8-14:1/3", 100, 100), ElementsAre(3, 0, 1, 2, 8, 11, 14));
    EXPECT_THAT(*parse_number_list("0-7:2/4", 100, 100), ElementsAre(0, 1, 4, 5));
    for (std::uint64_t seed = 1; seed < 200; ++seed) {
        SplitMix64 numbers{seed};
        std::vector<std::uint32_t> list;
        for (auto left = 1 + numbers.below(12); left > 0; --left)
            list.push_back(numbers.below(2) == 0 && !list.empty()
                               ? list.back() + 1 + static_cast<std::uint32_t>(numbers.below(2)) * 7
                               : static_cast<std::uint32_t>(numbers.below(300)));
        const auto text = format_number_list(list);
        EXPECT_EQ(parse_number_list(text, 1000, 100).value(), list) << text;
    }
    for (const auto* wrong :
         {"", ",", "1,", "-1", "3-1", "1-", "0-9:0/2", "0-9:3/2", "0-9:1", "x", "101", "0-100"})
        EXPECT_FALSE(parse_number_list(wrong, 100, 100)) << wrong;
}

TEST(NumberList, WhatIsSkippedTakesNoTime) {
    constexpr std::uint32_t largest = 1U << 20;
    std::string text = "0-1048576:1/1048576";
    for (int i = 1; i < 5000; ++i)
        text += ",0-1048576:1/1048576";
    const auto start = std::chrono::steady_clock::now();
    const auto numbers = parse_number_list(text, largest, 1U << 16);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{2}) << "5 billion are skipped";
    ASSERT_TRUE(numbers);
    EXPECT_EQ(numbers->size(), 10000U);
}

Policy policy_of(PlanFile file) {
    Policy policy{Policy::file};
    policy.path = "plan.toml";
    policy.plan_file = std::make_shared<const PlanFile>(std::move(file));
    return policy;
}

Result<Plan> plan_from(const PlanFile& file, const Host& host) {
    return plan({.vcpus = file.vcpus(),
                 .memory_bytes = file.memory_bytes(),
                 .policy = policy_of(file),
                 .page_size = file.page_size,
                 .shape = {}},
                host);
}

// Whatever the policy, what is written comes back as it was.
TEST(PlanFile, AnyPlanComesBack) {
    for (const auto* source : {"numa:3(memory=8GB) core:5 pu:2", "pack:8 [numa(memory=64GB)] core:18 pu:2"})
        for (const auto& policy : all_policies())
            for (const std::uint32_t vcpus : {1U, 2U, 7U, 255U, 256U, 288U}) {
                const auto host = discover(source);
                SCOPED_TRACE(fmt::format("{} {} {}", source, to_string(policy), vcpus));
                const auto made = plan({.vcpus = vcpus,
                                        .memory_bytes = 512 * MiB + 1,
                                        .policy = policy,
                                        .page_size = PageSize::base,
                                        .shape = {}},
                                       *host);
                ASSERT_TRUE(made);
                const auto file = parse_plan_file(format_plan_file(*made, *host));
                ASSERT_TRUE(file) << file.error().message();
                const auto again = plan_from(*file, *host);
                ASSERT_TRUE(again) << again.error().message();
                ASSERT_EQ(again->shape, made->shape);
                ASSERT_EQ(again->distances, made->distances);
                ASSERT_EQ(again->max_vcpus_per_pu, made->max_vcpus_per_pu);
                for (std::uint32_t i = 0; i < vcpus; ++i) {
                    ASSERT_EQ(again->vcpus[i].pus, made->vcpus[i].pus);
                    ASSERT_EQ(again->vcpus[i].virtual_node, made->vcpus[i].virtual_node);
                    ASSERT_EQ(again->vcpus[i].apic_id, made->vcpus[i].apic_id);
                }
                for (std::size_t i = 0; i < made->nodes.size(); ++i) {
                    ASSERT_EQ(again->nodes[i].memory_bytes, made->nodes[i].memory_bytes);
                    ASSERT_EQ(again->nodes[i].host_node, made->nodes[i].host_node);
                }
            }
}

TEST(PlanFile, AVcpuTakesNoMemoryForTheOthersPus) {
    const auto file = parse_plan_file("version = 1\n[[node]]\nmemory = \"1G\"\n[[vcpu]]\nvcpus = \"0-999\"\n"
                                      "node = 0\npus = \"0-999\"\n");
    ASSERT_TRUE(file) << file.error().message();
    for (const auto& place : file->places)
        ASSERT_LT(place.pus.capacity(), 10U);
}

// What no entry may hold is in several of them.
TEST(PlanFile, ManyVcpusOnManyPusComeBack) {
    const auto host = discover("core:64 pu:64");
    ASSERT_TRUE(host);
    PlanFile file;
    file.nodes = {{.host_node = 0, .memory_bytes = GiB}};
    std::vector<std::uint32_t> pus;
    for (const auto& pu : host->pus)
        pus.push_back(pu.os_index);
    file.places.assign(300, {.node = 0, .pus = pus});
    const auto made = plan_from(file, *host);
    ASSERT_TRUE(made) << made.error().message();
    const auto again = parse_plan_file(format_plan_file(*made, *host));
    ASSERT_TRUE(again) << again.error().message();
    ASSERT_EQ(again->vcpus(), 300U);
    for (const auto& place : again->places)
        ASSERT_EQ(place.pus, pus);
}

const std::string good = R"(version = 1
page_size = "4K"
topology = "1x4x1"

[[node]]
memory = "1G"
host_node = 0

[[vcpu]]
vcpus = "0-2"
node = 0
pus = "0-1,3"

[[vcpu]]
vcpus = "3"
node = 0
any_of = "4-5"
)";

std::string with(std::string_view what, std::string_view instead) {
    auto text = good;
    const auto at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    return text.replace(at, what.size(), instead);
}

TEST(PlanFile, AVcpuMayHaveSeveralPus) {
    const auto file = parse_plan_file(good);
    ASSERT_TRUE(file) << file.error().message();
    const auto made = plan_from(*file, *discover("numa:2(memory=8GB) core:4 pu:1"));
    ASSERT_TRUE(made) << made.error().message();
    EXPECT_THAT(made->vcpus[2].pus, ElementsAre(3));
    EXPECT_THAT(made->vcpus[3].pus, ElementsAre(4, 5));
    EXPECT_EQ(made->max_vcpus_per_pu, 1U);
}

TEST(PlanFile, CommentsMayBeInAnyScript) {
    EXPECT_TRUE(parse_plan_file("# \xe3\x80\x80\xc3\xbc\xe1\x9a\x80\n" + good));
}

TEST(PlanFile, RefusesAndSaysWhere) {
    struct Case {
        std::string text, message;
    };
    const Case cases[] = {
        {"", "\"version\" is missing"},
        {"version = ", "line 1"},
        {"\x01\x02", "line 1"},
        {"version = 1\n[[ = 1", "line 2"},
        {"version = 1\n\xe1\x9a\x80 = 1", "line 2"}, // U+1680, a blank
        {with("version = 1", "version = 2"), "version 2, known is 1"},
        {with("version = 1", "version = \"1\""), "no whole number"},
        {with("page_size = \"4K\"", "page_size = \"4M\""), "no such page size"},
        {with("page_size", "pagesize"), "did you mean page_size?"},
        {with("1x4x1", "1x5x1"), "is 5 vCPUs, placed are 4"},
        {with("1x4x1", "4y"), "line 3"},
        {with("[[node]]", "[node]"), "is written as [[node]]"},
        {with("memory = \"1G\"", "memory = 1"), "is no text in quotes"},
        {with("\"1G\"", "\"1.5G\""), "is no size"},
        {with("\"1G\"", "\"0\""), "is no size"},
        {with("host_node = 0", "host_node = -1"), "no whole number from 0"},
        {with("node = 0\npus", "node = 1\npus"), "counted from 0"},
        {with("node = 0\npus", "node = 0.0\npus"), "no whole number"},
        {with("0-1,3", "0-1"), "2 PUs for 3 vCPUs"},
        {with("0-1,3", "a"), "not a number"},
        {with("pus = \"0-1,3\"", "pus = \"0-1,3\"\nany_of = \"1\""), "both"},
        {with("vcpus = \"3\"", "vcpus = \"2\""), "vCPU 2 is placed twice"},
        {with("vcpus = \"3\"", "vcpus = \"4\""), "vCPU 3 is not placed"},
        {with("vcpus = \"3\"", "vcpus = \"0-99999999\""), "not a number up to"},
        {with("any_of", "anyof"), "did you mean any_of?"},
        {"version = 1\n[[node]]\nmemory=\"1G\"\n", "no [[vcpu]]"},
        {std::string(2000, '['), "line 1"},
    };
    for (const auto& [text, message] : cases) {
        const auto file = parse_plan_file(text);
        ASSERT_FALSE(file) << message;
        EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(file.error().message(), HasSubstr(message));
        EXPECT_THAT(file.error().asked, HasSubstr("line "));
    }
}

TEST(PlanFile, IsCheckedAgainstTheHost) {
    auto host = *discover("numa:2(memory=8GB) core:4 pu:1");
    host.pus[3].os_index = 30;
    host.pus[4].allowed = false;
    host.nodes[1].allowed = false;
    host.offline_pus = {9};
    struct Case {
        std::string text, message;
        ErrorKind kind;
    };
    const Case cases[] = {
        {with("0-1,3", "0-2"), "vCPU 3; PU 4 is not allowed", ErrorKind::host_lacks},
        {good, "vCPU 2; PU 3 is not there", ErrorKind::bad_input},
        {with("0-1,3", "0-1,9"), "vCPU 2; PU 9 is offline", ErrorKind::host_lacks},
        {with("host_node = 0", "host_node = 2"), "node 0; host node 2 is not there", ErrorKind::bad_input},
        {with("host_node = 0", "host_node = 1"), "host node 1 is not allowed", ErrorKind::host_lacks},
        {with("\"1G\"", "\"9G\""), "from host node 0", ErrorKind::host_lacks},
        {with("\"1G\"", "\"1000\""), "no whole pages", ErrorKind::bad_input},
        {with("[[vcpu]]", "[[node]]\nmemory = \"1G\"\n[[vcpu]]"), "no vCPU is in it", ErrorKind::bad_input},
    };
    for (const auto& [text, message, kind] : cases) {
        const auto file = parse_plan_file(text);
        ASSERT_TRUE(file) << message << file.error().message();
        const auto checked = check_plan_file(*file, host);
        ASSERT_FALSE(checked) << message;
        EXPECT_EQ(checked.error().kind, kind) << message;
        const auto at = message.find("; ");
        EXPECT_THAT(checked.error().message(), HasSubstr(message.substr(0, at)));
        EXPECT_THAT(checked.error().found + checked.error().asked,
                    HasSubstr(at == std::string::npos ? message : message.substr(at + 2)));
        EXPECT_FALSE(plan_from(*file, host));
    }
}

// --memory could not help: the file says how much.
TEST(PlanFile, MemoryThatIsTooMuchIsToBeLessInTheFile) {
    const auto host = discover("numa:2(memory=8GiB) core:4 pu:1");
    auto two = with("node = 0\nany_of", "node = 1\nany_of");
    two.insert(two.find("memory"), "memory = \"8G\"\nhost_node = 0\n[[node]]\n");
    struct Case {
        std::string text, remedy;
    };
    for (const auto& [text, remedy] :
         {Case{with("\"1G\"", "\"9G\""), "give node 0 less memory in the plan file: 8192M or less"},
          Case{with("\"1G\"", "\"17G\""), "give node 0 less memory in the plan file: 8192M or less"},
          Case{two, "give node 0 and node 1 less memory in the plan file: 8192M or less"},
          Case{with("\"1G\"\nhost_node = 0", "\"17G\""),
               "give the nodes less memory in the plan file: 16384M or less together"}}) {
        const auto file = parse_plan_file(text);
        ASSERT_TRUE(file) << file.error().message();
        const auto made = plan_from(*file, *host);
        ASSERT_FALSE(made) << text;
        EXPECT_EQ(made.error().kind, ErrorKind::host_lacks);
        EXPECT_EQ(made.error().remedy, remedy);
    }
}

TEST(PlanFile, ContradictionsAreRefused) {
    const auto file = parse_plan_file(good);
    const auto host = discover("numa:2(memory=8GB) core:4 pu:1");
    PlanRequest request;
    request.vcpus = 4;
    request.memory_bytes = GiB;
    request.policy = policy_of(*file);
    EXPECT_TRUE(plan(request, *host));
    request.vcpus = 5;
    EXPECT_THAT(plan(request, *host).error().found, HasSubstr("places 4 vCPUs, asked were 5"));
    request.vcpus = 4;
    request.memory_bytes = 2 * GiB;
    EXPECT_FALSE(plan(request, *host));
    request.memory_bytes = GiB;
    request.policy.plan_file = nullptr;
    EXPECT_THAT(plan(request, *host).error().found, HasSubstr("not read"));
}

} // namespace
} // namespace nestbed::topology
