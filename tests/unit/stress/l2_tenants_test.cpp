#include "stress/drivers/l2_tenants.hpp"

#include <functional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using wire::l2_tenants::Tenant;

L2Vendor vendor() {
    return {"svm", {"cpuid", "vmmcall", "ioio", "msr", "npf"}, [](std::uint64_t code) {
                return "exit " + std::to_string(code);
            }};
}

Tenant sound() {
    Tenant tenant{};
    for (std::uint64_t kind = 0; kind < wire::l2_tenants::kinds; ++kind)
        tenant.made[kind] = tenant.handled[kind] = kind + 1;
    tenant.injected[3] = tenant.delivered[3] = 7;
    tenant.checked = 1000;
    tenant.moves = 2;
    tenant.ended = 1;
    return tenant;
}

TEST(L2Tenants, SoundOnesPass) {
    for (const std::size_t count : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U})
        EXPECT_THAT(judge_tenants(std::vector<Tenant>(count, sound()), 1, vendor()), IsEmpty()) << count;
}

TEST(L2Tenants, TotalsAreSums) {
    const auto totals = total(std::vector<Tenant>(3, sound()));
    EXPECT_EQ(totals.exits, 3U * 15);
    EXPECT_EQ(totals.injected, 21U);
    EXPECT_EQ(totals.checked, 3000U);
    EXPECT_EQ(totals.moves, 6U);
}

struct Wrong {
    std::function<void(Tenant&)> spoil;
    const char* said;
};

TEST(L2Tenants, WhateverIsWrongIsNamed) {
    const std::vector<Wrong> cases{
        {[](Tenant& t) { ++t.made[2]; }, "L2 made 4 exits by ioio, L1 saw 3"},
        {[](Tenant& t) { ++t.handled[0]; }, "L2 made 1 exits by cpuid, L1 saw 2"},
        {[](Tenant& t) { --t.delivered[3]; }, "vector 0x43: L1 injected 7 interrupts, L2 took 6"},
        {[](Tenant& t) { ++t.delivered[0]; }, "vector 0x40: L1 injected 0 interrupts, L2 took 1"},
        {[](Tenant& t) { t.stray = 1; }, "1 events in L2 that L1 did not inject"},
        {[](Tenant& t) {
             t.wrong_registers = 2;
             t.first_wrong = 8;
             t.expected = 0x11;
             t.seen = 0x22;
         },
         "2 canaries changed, the first R10: 0x22 instead of 0x11"},
        {[](Tenant& t) {
             t.wrong_replies = 1;
             t.first_wrong = 14;
         },
         "the first RAX"},
        {[](Tenant& t) {
             t.wrong_words = 1;
             t.first_wrong = 16 + 511;
         },
         "the first word 511 of its page"},
        {[](Tenant& t) {
             t.strange = 1;
             t.strange_code = 42;
         },
         "left by exit 42, which it did not ask for"},
        {[](Tenant& t) { t.ended = 0; }, "did not come to its end"},
        {[](Tenant& t) { t.checked = 0; }, "compared nothing"},
    };
    for (const auto& [spoil, said] : cases) {
        std::vector<Tenant> tenants(8, sound());
        spoil(tenants[5]);
        EXPECT_THAT(judge_tenants(tenants, 4, vendor()),
                    ElementsAre(testing::AllOf(HasSubstr("L2 1 of vCPU 1: "), HasSubstr(said))));
    }
}

} // namespace
} // namespace nestbed::stress
