#include "nested/conform/suite.hpp"

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::conform {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// `pus` PUs, of which those in `forbidden` may not be used.
topology::Host host_of(std::uint32_t pus, const std::set<std::uint32_t>& forbidden = {}) {
    topology::Host host;
    for (std::uint32_t i = 0; i < pus; ++i) {
        auto& pu = host.pus.emplace_back();
        pu.os_index = i;
        pu.core = i;
        pu.allowed = !forbidden.contains(i);
    }
    return host;
}

TEST(DefaultJobs, AreOneForTwoUsablePusAndOneAtTheLeast) {
    struct Case {
        topology::Host host;
        std::uint32_t jobs;
    };
    const std::vector<Case> cases{{host_of(0), 1},    {host_of(1), 1}, {host_of(2), 1},
                                  {host_of(3), 1},    {host_of(4), 2}, {host_of(4, {1, 2}), 1},
                                  {host_of(288), 144}};
    for (const auto& [host, jobs] : cases)
        EXPECT_EQ(default_jobs(host), jobs) << host.pus.size();
}

TEST(Slice, GivesNeighboursToAJob) {
    const auto host = host_of(8, {2});
    EXPECT_THAT(topology::allowed_pus(slice(host, 0, 3)), ElementsAre(0, 1));
    EXPECT_THAT(topology::allowed_pus(slice(host, 1, 3)), ElementsAre(3, 4));
    EXPECT_THAT(topology::allowed_pus(slice(host, 2, 3)), ElementsAre(5, 6, 7));
    EXPECT_EQ(slice(host, 1, 3).pus.size(), 8U) << "the host stays whole";
}

TEST(Slice, LetsJobsShareWhereThereAreMoreOfThemThanPus) {
    const auto host = host_of(4, {0});
    EXPECT_THAT(topology::allowed_pus(slice(host, 0, 4)), ElementsAre(1));
    EXPECT_THAT(topology::allowed_pus(slice(host, 2, 4)), ElementsAre(3));
    EXPECT_THAT(topology::allowed_pus(slice(host, 3, 4)), ElementsAre(1));
    EXPECT_THAT(topology::allowed_pus(slice(host_of(2, {0, 1}), 1, 3)), IsEmpty());
}

// As long as there is one for each, no PU is used twice and none is idle.
TEST(Slice, PartsTheHost) {
    for (const std::uint32_t pus : {1U, 2U, 7U, 64U, 97U, 1024U}) {
        const auto host = host_of(pus, {5});
        const auto usable = topology::allowed_pus(host);
        for (const std::uint32_t jobs : {1U, 2U, 3U, 7U, 48U, 96U}) {
            if (jobs > usable.size())
                continue;
            std::vector<std::uint32_t> taken;
            for (std::uint32_t job = 0; job < jobs; ++job) {
                const auto part = topology::allowed_pus(slice(host, job, jobs));
                EXPECT_GE(part.size(), usable.size() / jobs) << pus << " PUs, job " << job << " of " << jobs;
                taken.insert(taken.end(), part.begin(), part.end());
            }
            EXPECT_EQ(taken, usable) << pus << " PUs, " << jobs << " jobs";
        }
    }
}

} // namespace
} // namespace nestbed::conform
