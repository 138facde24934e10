// Every vCPU of every shape on every host, decoded as an operating system would.
#include "core/cpu/cpuid.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "guest_view.hpp"
#include "host_tables.hpp"
#include "shapes.hpp"

namespace nestbed::core::cpu::test {
namespace {

using topology::Shape;

class Ids : public testing::TestWithParam<std::tuple<HostTable, Shape>> {
protected:
    [[nodiscard]] const HostTable& host() const { return std::get<0>(GetParam()); }
    [[nodiscard]] const Shape& shape() const { return std::get<1>(GetParam()); }
    [[nodiscard]] std::uint32_t vcpus() const { return static_cast<std::uint32_t>(vcpu_count(shape())); }
    [[nodiscard]] Table guest() const { return guest_template(host().table, {.shape = shape()}); }
    // The leaf that says most: dies too.
    [[nodiscard]] std::uint32_t richest_leaf() const {
        return is_amd_like(host().vendor) ? 0x80000026 : 0x1f;
    }
};

TEST_P(Ids, DecodeToTheShape) {
    const auto table = guest();
    std::set<std::uint32_t> ids;
    std::set<std::uint32_t> packages;
    std::set<std::tuple<std::uint32_t, std::uint32_t>> dies;
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> cores;
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
        const auto place = decode_levels(for_vcpu(table, shape(), vcpu), richest_leaf());
        ASSERT_TRUE(place) << "vCPU " << vcpu;
        const auto at = position_of(shape(), vcpu);
        ASSERT_EQ((std::tuple{place->package, place->die, place->core, place->thread}),
                  (std::tuple{at.socket, at.die, at.core, at.thread}))
            << "vCPU " << vcpu;
        ids.insert(place->x2apic_id);
        packages.insert(place->package);
        dies.insert({place->package, place->die});
        cores.insert({place->package, place->die, place->core});
    }
    EXPECT_EQ(ids.size(), vcpus());
    EXPECT_EQ(packages.size(), shape().sockets);
    EXPECT_EQ(dies.size(), shape().sockets * shape().dies);
    EXPECT_EQ(cores.size(), shape().sockets * shape().dies * shape().cores);
}

TEST_P(Ids, AgreeBetweenLeaves) {
    const auto table = guest();
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
        const auto own = for_vcpu(table, shape(), vcpu);
        const auto rich = decode_levels(own, richest_leaf());
        const auto plain = decode_levels(own, 0xb);
        ASSERT_TRUE(rich && plain) << "vCPU " << vcpu;
        ASSERT_EQ(plain->x2apic_id, rich->x2apic_id);
        ASSERT_EQ(plain->package, rich->package);
        ASSERT_EQ(plain->thread, rich->thread);
        ASSERT_EQ(execute(own, 1).ebx >> 24, rich->x2apic_id & 0xff);
        if (is_amd_like(host().vendor)) {
            const auto ids = execute(own, 0x8000001e);
            ASSERT_EQ(ids.eax, rich->x2apic_id);
            ASSERT_EQ(ids.ebx & 0xff, std::min(plain->core, 255U));
        }
    }
}

// Caches group vCPUs: L1 and L2 by core, L3 by die. An OS takes the sharing count, rounds it up to a power of
// two and shifts the id by it; ids are below 4096 here, so the 12-bit field never saturates.
TEST_P(Ids, ShareCachesByCoreAndDie) {
    const auto table = guest();
    const auto leaf = is_amd_like(host().vendor) ? 0x8000001dU : 0x4U;
    std::uint32_t subleaf = 0;
    for (; subleaf < 16; ++subleaf) {
        const auto cache = execute(table, leaf, subleaf);
        if ((cache.eax & 31) == 0)
            break;
        const auto level = cache.eax >> 5 & 7;
        const auto sharing = (cache.eax >> 14 & 0xfff) + 1;
        std::set<std::uint32_t> groups;
        for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu)
            groups.insert(execute(for_vcpu(table, shape(), vcpu), 0xb).edx / sharing);
        const auto dies = shape().sockets * shape().dies;
        EXPECT_EQ(groups.size(), level < 3 ? dies * shape().cores : dies) << "level " << level;
    }
    EXPECT_EQ(subleaf, 4U); // as many as the host has, or as the stand-in has
}

TEST_P(Ids, LookRightFromInside) {
    const auto table = guest();
    for (std::uint32_t vcpu = 0; vcpu < vcpus(); ++vcpu) {
        const auto own = for_vcpu(table, shape(), vcpu);
        const auto complaints = topology_complaints(shape(), vcpu, dump(own), execute(own, 0xb).edx);
        ASSERT_EQ(complaints, std::vector<std::string>{}) << "vCPU " << vcpu;
    }
}

INSTANTIATE_TEST_SUITE_P(AllHosts, Ids,
                         testing::Combine(testing::ValuesIn(all_hosts()), testing::ValuesIn(all_shapes())),
                         [](const testing::TestParamInfo<Ids::ParamType>& test_case) {
                             return fmt::format("{}_{}", std::get<0>(test_case.param).name,
                                                format_shape(std::get<1>(test_case.param)));
                         });

} // namespace
} // namespace nestbed::core::cpu::test
