#include "report/nested_document.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json_file.hpp"
#include "tests/support/schema.hpp"
#include "tests/unit/nested/vmx/capabilities.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::json;
using nestbed::test::nested_schema;
using nestbed::test::violations;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

NestedSeen vmx_host() {
    return {.offer = {.extension = nested::Extension::vmx, .reason = "it has VMX", .remedy = {}},
            .supported_cpuid = {},
            .vmx = vmx::test::example};
}

NestedSeen svm_host(std::uint32_t features) {
    kvm_cpuid_entry2 extended{};
    extended.function = 0x8000'0001;
    extended.ecx = 1U << 2;
    kvm_cpuid_entry2 svm{};
    svm.function = 0x8000'000a;
    svm.eax = 1;
    svm.ebx = 16;
    svm.edx = features;
    return {.offer = {.extension = nested::Extension::svm, .reason = "it has SVM", .remedy = {}},
            .supported_cpuid = {extended, svm},
            .vmx = {}};
}

NestedSeen plain_host() {
    return {.offer = nested::offer_of({}), .supported_cpuid = {}, .vmx = {}};
}

std::string text_of(const NestedSeen& seen) {
    return dump(to_json(seen));
}

std::vector<std::string> differences(const std::string& a, const std::string& b) {
    const auto left = parse_nested_document(a, "a.json");
    const auto right = parse_nested_document(b, "b.json");
    if (!left || !right)
        return {"not read"};
    return nested_differences(*left, "a", *right, "b");
}

std::vector<std::string> differences(const NestedSeen& a, const NestedSeen& b) {
    return differences(text_of(a), text_of(b));
}

TEST(NestedDocument, HoldsVmxControlByControl) {
    const auto json = Json::parse(text_of(vmx_host()));
    EXPECT_EQ(json["extension"], "VMX");
    EXPECT_EQ(json["vmcs_revision"], 0x11e5'7ed0);
    EXPECT_EQ(json["vmcs_bytes"], 1024);
    EXPECT_EQ(json["preemption_timer_shift"], 5);
    EXPECT_EQ(json["highest_vmcs_index"], 23);
    EXPECT_EQ(json["features"]["ept"], true);
    EXPECT_EQ(json["features"]["ipi_virt"], false);
    EXPECT_EQ(json["features"]["ept_ad"], true);
    EXPECT_EQ(json["msrs"]["IA32_VMX_PROCBASED_CTLS2"], "0x02137cff00000000");
    EXPECT_EQ(json["msrs"].size(), vmx::test::example.size());
    EXPECT_EQ(json["controls"].size(), 105U) << "104 controls and a VM function";
    const auto& first = json["controls"][0];
    EXPECT_EQ(first["feature"], "intr_exiting");
    EXPECT_EQ(first["name"], "External-interrupt exiting");
    EXPECT_EQ(first["msr"], "IA32_VMX_TRUE_PINBASED_CTLS");
    EXPECT_EQ(first["bit"], 0);
    EXPECT_EQ(first["allowed"], "0 or 1");
}

TEST(NestedDocument, HoldsSvmFeatureByFeature) {
    const auto json = Json::parse(text_of(svm_host(0x1)));
    EXPECT_EQ(json["extension"], "SVM");
    EXPECT_EQ(json["revision"], 1);
    EXPECT_EQ(json["asids"], 16);
    EXPECT_EQ(json["features"]["npt"], true);
    EXPECT_EQ(json["features"]["vgif"], false);
    EXPECT_FALSE(json.contains("msrs"));
}

TEST(NestedDocument, IsValid) {
    for (const auto& seen : {vmx_host(), svm_host(0), svm_host(~0U), plain_host()})
        EXPECT_THAT(violations(Json::parse(text_of(seen)), nested_schema()), IsEmpty());
}

TEST(NestedDocument, IsNotValidWithoutItsMembersOrWithOthers) {
    struct Case {
        NestedSeen seen;
        std::vector<std::string> needed;
    };
    for (const auto& [seen, needed] :
         {Case{vmx_host(),
               {"schema_version", "extension", "reason", "remedy", "features", "controls", "msrs"}},
          Case{svm_host(1),
               {"schema_version", "extension", "reason", "remedy", "features", "revision", "asids"}},
          Case{plain_host(), {"schema_version", "extension", "reason", "remedy"}}}) {
        const auto whole = Json::parse(text_of(seen));
        for (const auto& name : needed) {
            auto broken = whole;
            broken.erase(name);
            EXPECT_THAT(violations(broken, nested_schema()), Not(IsEmpty())) << "without " << name;
        }
        auto more = whole;
        more["surprise"] = 1;
        EXPECT_THAT(violations(more, nested_schema()), Not(IsEmpty()));
    }
    auto mixed = Json::parse(text_of(svm_host(1)));
    mixed["msrs"] = Json::object();
    EXPECT_THAT(violations(mixed, nested_schema()), Not(IsEmpty())) << "SVM has none";
}

TEST(NestedDocument, IsNotValidWithValuesOfTheWrongKind) {
    struct Case {
        std::string at;
        Json value;
    };
    const auto whole = Json::parse(text_of(vmx_host()));
    for (const auto& [at, value] : std::vector<Case>{{"/schema_version", 2},
                                                     {"/extension", "vmx"},
                                                     {"/reason", ""},
                                                     {"/vmcs_bytes", "4096"},
                                                     {"/features/ept", "yes"},
                                                     {"/controls/0/allowed", "2"},
                                                     {"/controls/0/bit", 64},
                                                     {"/controls/0/msr", "0x48d"},
                                                     {"/msrs/IA32_VMX_MISC", 1},
                                                     {"/msrs/IA32_VMX_MISC", "0x1"},
                                                     {"/controls", Json::object()},
                                                     {"/features", Json::array()}}) {
        auto broken = whole;
        ASSERT_TRUE(broken.contains(Json::json_pointer{at})) << at;
        broken[Json::json_pointer{at}] = value;
        EXPECT_THAT(violations(broken, nested_schema()), Not(IsEmpty())) << at << " = " << value;
    }
}

TEST(NestedDifferences, OfEqualsThereAreNone) {
    for (const auto& seen : {vmx_host(), svm_host(0x1'0001), plain_host()})
        EXPECT_THAT(differences(seen, seen), IsEmpty());
    auto other = vmx_host();
    other.offer.reason = "for another reason";
    EXPECT_THAT(differences(vmx_host(), other), IsEmpty()) << "that is for people";
}

TEST(NestedDifferences, OfSvm) {
    EXPECT_THAT(differences(svm_host(0x1), svm_host(0x1'0000)),
                ElementsAre("npt: only in a", "vgif: only in b"));
    auto more_asids = svm_host(0x1);
    more_asids.supported_cpuid[1].ebx = 32;
    EXPECT_THAT(differences(svm_host(0x1), more_asids), ElementsAre("asids: 16 in a, 32 in b"));
}

TEST(NestedDifferences, OfVmx) {
    auto without = vmx_host();
    for (auto& msr : without.vmx)
        if (msr.index == 0x48b)
            msr.value &= ~(std::uint64_t{1} << 46);
    EXPECT_THAT(differences(vmx_host(), without),
                ElementsAre("shadow_vmcs: only in a",
                            "IA32_VMX_PROCBASED_CTLS2: 0x02137cff00000000 in a, 0x02133cff00000000 in b"));

    auto stricter = vmx_host();
    for (auto& msr : stricter.vmx)
        if (msr.index == 0x48e)
            msr.value |= 1U << 15;
    EXPECT_THAT(
        differences(vmx_host(), stricter),
        ElementsAre("cr3_load_exiting may be: 0 or 1 in a, 1 in b",
                    "IA32_VMX_TRUE_PROCBASED_CTLS: 0xfff9fffe04006172 in a, 0xfff9fffe0400e172 in b"));

    auto fewer = vmx_host();
    std::erase_if(fewer.vmx, [](const auto& msr) { return msr.index == 0x491; });
    EXPECT_THAT(
        differences(fewer, vmx_host()),
        ElementsAre("eptp_switching: only in b", "IA32_VMX_VMFUNC: not there in a, 0x0000000000000001 in b"));
}

TEST(NestedDifferences, OfDifferentExtensions) {
    const auto lines = differences(svm_host(0x1), plain_host());
    EXPECT_THAT(lines, ElementsAre("extension: SVM in a, none in b", "npt: only in a",
                                   "asids: 16 in a, not there in b", "revision: 1 in a, not there in b"));
    EXPECT_THAT(differences(svm_host(1), vmx_host()).front(), HasSubstr("extension: SVM in a, VMX in b"));
}

TEST(NestedDifferences, AFeatureThatIsNotKnownIsNotThere) {
    auto newer = to_json(svm_host(0x1));
    newer["features"]["brand_new"] = false;
    EXPECT_THAT(differences(text_of(svm_host(0x1)), dump(newer)), IsEmpty());
    newer["features"]["brand_new"] = true;
    EXPECT_THAT(differences(text_of(svm_host(0x1)), dump(newer)), ElementsAre("brand_new: only in b"));
}

TEST(NestedDocument, IsNotReadFromSomethingElse) {
    auto other = to_json(vmx_host());
    other["schema_version"] = 2;
    struct Case {
        std::string text;
        std::string found; // a part of it
    };
    for (const auto& [text, found] :
         {Case{"", "no JSON object"}, Case{"{", "no JSON object"}, Case{"[]", "no JSON object"},
          Case{"{}", "not what"}, Case{R"({"schema_version": 1})", "not what"},
          Case{R"({"schema_version": 1, "extension": "TDX"})", "not what"},
          Case{R"({"schema_version": -1, "extension": "VMX"})", "not what"},
          Case{R"({"schema_version": "1", "extension": "VMX"})", "not what"}, Case{dump(other), "version 2"},
          Case{R"({"schema_version": 1, "extension": "SVM", "features": []})", "wrong type"},
          Case{R"({"schema_version": 1, "extension": "SVM", "features": {"npt": 1}})", "wrong type"},
          Case{R"({"schema_version": 1, "extension": "VMX", "controls": {}})", "wrong type"},
          Case{R"({"schema_version": 1, "extension": "VMX", "controls": [1]})", "wrong type"},
          Case{R"({"schema_version": 1, "extension": "VMX", "controls": [{"feature": "ept"}]})",
               "wrong type"},
          Case{R"({"schema_version": 1, "extension": "VMX", "msrs": {"IA32_VMX_MISC": 1}})", "wrong type"}}) {
        const auto document = parse_nested_document(text, "x.json");
        ASSERT_FALSE(document) << text;
        EXPECT_EQ(document.error().kind, ErrorKind::bad_input);
        EXPECT_EQ(document.error().asked, "read x.json");
        EXPECT_THAT(document.error().found, HasSubstr(found)) << text;
    }
}

TEST(NestedDocument, WhatItSaysIsFitForATerminal) {
    const auto lines =
        differences(R"({"schema_version": 1, "extension": "SVM", "features": {"\u001b[31m": true}})",
                    R"({"schema_version": 1, "extension": "SVM", "features": {}})");
    EXPECT_THAT(lines, ElementsAre("?[31m: only in a"));
}

} // namespace
} // namespace nestbed::report
