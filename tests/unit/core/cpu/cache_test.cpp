#include "core/cpu/cache.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

kvm_cpuid_entry2& host_cache(Table& table, std::uint32_t subleaf) {
    for (auto& entry : table)
        if (entry.function == 0x4 && entry.index == subleaf)
            return entry;
    return table.back();
}

TEST(Caches, KeepTheHostsGeometry) {
    const auto intel = caches_of(host_named("IceLake").table, Vendor::intel);
    ASSERT_EQ(intel.size(), 4U);
    EXPECT_EQ(intel[0], (Cache{.type = 1, .level = 1, .ebx = 0x02c0003f, .ecx = 0x3f}));
    EXPECT_EQ(intel[3], (Cache{.type = 3, .level = 3, .ebx = 0x02c0003f, .ecx = 0xffff, .edx = 4}));
    const auto amd = caches_of(host_named("Milan").table, Vendor::amd);
    ASSERT_EQ(amd.size(), 4U);
    EXPECT_EQ(amd[3], (Cache{.type = 3, .level = 3, .ebx = 0x03c0003f, .ecx = 0x7fff, .edx = 1}));
}

TEST(Caches, WriteGeometryBackAsItWas) {
    auto host = host_named("IceLake").table;
    host_cache(host, 2).eax |= 1U << 9; // fully associative
    const auto entries = cache_entries(caches_of(host, Vendor::intel), Vendor::intel, {});
    ASSERT_EQ(entries.size(), 5U);
    for (std::uint32_t subleaf = 0; subleaf < 4; ++subleaf) {
        const auto& was = host_cache(host, subleaf);
        const auto& is = entries[subleaf];
        EXPECT_EQ(is.eax & 0x3fff, was.eax & 0x3fff) << subleaf;
        EXPECT_EQ(is.ebx, was.ebx);
        EXPECT_EQ(is.ecx, was.ecx);
        EXPECT_EQ(is.edx, was.edx);
        EXPECT_EQ(is.index, subleaf);
        EXPECT_EQ(is.flags, 1U);
    }
    EXPECT_EQ(entries[4].eax, 0U);
    EXPECT_EQ(entries[4].index, 4U);
}

struct Nonsense {
    std::string name;
    std::uint32_t subleaf;
    std::uint32_t eax;
    std::uint32_t ebx;
    std::uint32_t ecx;
};

class Disbelieves : public testing::TestWithParam<Nonsense> {};

TEST_P(Disbelieves, TheWholeList) {
    auto host = host_named("IceLake").table;
    auto& entry = host_cache(host, GetParam().subleaf);
    entry.eax = GetParam().eax;
    entry.ebx = GetParam().ebx;
    entry.ecx = GetParam().ecx;
    const auto plain = caches_of(Table{}, Vendor::intel);
    EXPECT_NE(caches_of(host_named("IceLake").table, Vendor::intel), plain);
    EXPECT_EQ(caches_of(host, Vendor::intel), plain);
}

INSTANTIATE_TEST_SUITE_P(All, Disbelieves,
                         testing::Values(Nonsense{"NoCacheAtAll", 0, 0x0, 0x0, 0x0},
                                         Nonsense{"UnknownType", 0, 0x124, 0x01c0003f, 0x3f},
                                         Nonsense{"LevelZero", 0, 0x101, 0x01c0003f, 0x3f},
                                         Nonsense{"LevelSeven", 3, 0x1e3, 0x01c0003f, 0x3f},
                                         Nonsense{"LineOf48Bytes", 2, 0x143, 0x01c0002f, 0x3ff},
                                         Nonsense{"LineOf1Byte", 2, 0x143, 0x01c00000, 0x3ff},
                                         Nonsense{"TheSameTwice", 2, 0x121, 0x01c0003f, 0x3f},
                                         Nonsense{"UnifiedBesideData", 1, 0x123, 0x01c0003f, 0x3f},
                                         Nonsense{"LargerThanMemory", 3, 0x163, 0xffffffff, 0xffffffff},
                                         Nonsense{"ManySets", 3, 0x163, 0x02c0003f, 0xffffffff}),
                         [](const auto& test_case) { return test_case.param.name; });

TEST(Caches, StandInIsPlausible) {
    std::vector<std::uint64_t> kib;
    for (const auto& cache : caches_of(Table{}, Vendor::amd)) {
        const auto line = (cache.ebx & 0xfff) + 1;
        const auto ways = (cache.ebx >> 22) + 1;
        EXPECT_EQ(line, 64U);
        kib.push_back(std::uint64_t{line} * ways * (cache.ecx + 1) / 1024);
    }
    EXPECT_EQ(kib, (std::vector<std::uint64_t>{32, 32, 1024, 32768}));
}

} // namespace
} // namespace nestbed::core::cpu::test
