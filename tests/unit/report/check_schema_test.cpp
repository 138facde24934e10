#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/host_check_text.hpp"
#include "report/json_file.hpp"
#include "tests/support/schema.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::json;
using nestbed::test::check_schema;
using nestbed::test::violations;
using testing::IsEmpty;
using testing::Not;

// Some of it well, some short, some missing.
HostState example_state() {
    HostState state;
    state.facts = *test::full_result().host;
    state.facts.limits = {{"nofile_hard", 10}, {"nproc", std::nullopt}};
    state.nested = {.extension = nested::Extension::svm, .reason = "it has SVM", .remedy = {}};
    return state;
}

Json document(const HostState& state) {
    constexpr std::uint32_t vcpus = 1024;
    const std::vector counts{vcpus};
    return Json::parse(dump(to_json(state, vcpus, judge_host(state, test::example_needs, vcpus),
                                    conclude(state, test::example_needs, counts))));
}

TEST(CheckSchema, AcceptsHostsOfWhichMuchOrLittleIsKnown) {
    EXPECT_THAT(violations(document(example_state()), check_schema()), IsEmpty());
    HostState nothing;
    nothing.nested = nested::offer_of({});
    nothing.kvm_error = Error{ErrorKind::host_lacks, "open /dev/kvm", "there is none", "modprobe kvm"};
    EXPECT_THAT(violations(document(nothing), check_schema()), IsEmpty());
}

TEST(CheckSchema, WantsEachMemberAndNoOther) {
    const auto whole = document(example_state());
    for (const auto* const at : {"", "/program", "/findings/0"}) {
        const Json::json_pointer pointer{at};
        for (const auto& [name, value] : whole[pointer].items()) {
            auto broken = whole;
            broken[pointer].erase(name);
            EXPECT_THAT(violations(broken, check_schema()), Not(IsEmpty())) << at << " without " << name;
        }
        auto more = whole;
        more[pointer]["surprise"] = 1;
        EXPECT_THAT(violations(more, check_schema()), Not(IsEmpty())) << at;
    }
}

TEST(CheckSchema, RefusesValuesOfTheWrongKind) {
    struct Case {
        std::string at;
        Json value;
    };
    const std::vector<Case> cases{
        {"/schema_version", 2},        {"/vcpus", 0},
        {"/host/kernel", 6},           {"/nested", "svm"},
        {"/findings/0/level", "good"}, {"/findings/0/needed_by", "nobody"},
        {"/findings/0/found", ""},     {"/findings", Json::object()},
        {"/all_vcpus_run", "no"},      {"/any_guest_runs", 1},
        {"/conclusion", ""},
    };
    const auto whole = document(example_state());
    for (const auto& [at, value] : cases) {
        auto broken = whole;
        ASSERT_TRUE(broken.contains(Json::json_pointer{at})) << at;
        broken[Json::json_pointer{at}] = value;
        EXPECT_THAT(violations(broken, check_schema()), Not(IsEmpty())) << at << " = " << value;
    }
}

TEST(CheckSchema, WantsARemedyForWhatFallsShort) {
    auto json = document(example_state());
    std::size_t shortfalls = 0;
    for (auto& finding : json["findings"]) {
        if (finding["level"] == "ok")
            continue;
        ++shortfalls;
        const auto remedy = finding["remedy"];
        finding["remedy"] = "";
        EXPECT_THAT(violations(json, check_schema()), Not(IsEmpty())) << finding["name"];
        finding["remedy"] = remedy;
    }
    EXPECT_GT(shortfalls, 0U);
}

} // namespace
} // namespace nestbed::report
