#include "topology/plan.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "topology/host_distances.hpp"

namespace nestbed::topology {
namespace {

struct NamedHost {
    std::string name;
    Host host;
};

const std::vector<NamedHost>& hosts() {
    static const auto all = [] {
        std::vector<std::string> sources{
            "core:1 pu:1",
            "pack:2 core:4 pu:2",
            "pack:2 [numa(memory=64GB)] l3:2 core:3 pu:2",
            "pack:3 numa:2(memory=64GB) core:5 pu:1",
            "numa:5(memory=64GB) core:7 pu:4",
            "pack:8 [numa(memory=512GB)] l3:4 core:16 pu:2",
            "pack:16 [numa(memory=64GB)] core:128 pu:2",
        };
        for (const auto* file :
             {"192em64t-24n8c2t", "16amd64-4distances", "8intel64-4n2t-memattrs", "16em64t-4s2c2t-offlines"})
            sources.push_back(fmt::format("{}/hwloc/{}.xml", NESTBED_TEST_DATA, file));
        std::vector<NamedHost> found;
        for (const auto& source : sources) {
            auto host = discover(source);
            EXPECT_TRUE(host) << source;
            if (host)
                found.push_back({source, std::move(*host)});
        }
        // Every third PU and the first of several nodes forbidden, and a node that has PUs but no memory.
        for (const std::size_t base : {2U, 5U}) {
            auto odd = found.at(base);
            odd.name += ", partly allowed";
            for (std::size_t i = 0; i < odd.host.pus.size(); i += 3)
                odd.host.pus[i].allowed = false;
            odd.host.nodes.front().allowed = false;
            if (odd.host.nodes.size() > 2)
                odd.host.nodes[2].memory_bytes = odd.host.nodes[2].free_bytes = 0;
            found.push_back(std::move(odd));
        }
        return found;
    }();
    return all;
}

PlanRequest request_for(std::uint32_t vcpus, const Policy& policy, PageSize page_size = PageSize::base) {
    return {.vcpus = vcpus,
            .memory_bytes = 512 * MiB + 1,
            .policy = policy,
            .page_size = page_size,
            .shape = std::nullopt};
}

const Node* node_by_os_index(const Host& host, std::uint32_t os_index) {
    const auto at = std::find_if(host.nodes.begin(), host.nodes.end(),
                                 [&](const Node& node) { return node.os_index == os_index; });
    return at == host.nodes.end() ? nullptr : &*at;
}

const Pu& pu_by_os_index(const Host& host, std::uint32_t os_index) {
    return *std::find_if(host.pus.begin(), host.pus.end(),
                         [&](const Pu& pu) { return pu.os_index == os_index; });
}

class PlanProperties : public testing::TestWithParam<Policy> {
protected:
    template<typename Check>
    void for_each_plan(Check check) const {
        const auto& policy = GetParam();
        for (const auto& [name, host] : hosts())
            for (const std::uint32_t vcpus : {1U, 2U, 7U, 254U, 255U, 256U, 257U, 288U, 512U, 1024U}) {
                // Mapping takes longer than ordering; mapping_test.cpp has the large ones.
                if (policy.kind == Policy::traffic && vcpus > 7)
                    continue;
                SCOPED_TRACE(fmt::format("{} vCPUs, {}, on {}", vcpus, to_string(policy), name));
                const auto made = plan(request_for(vcpus, policy), host);
                ASSERT_TRUE(made) << made.error().message();
                check(*made, host, vcpus);
                if (HasFatalFailure())
                    return;
            }
    }
};

TEST_P(PlanProperties, VcpusAreDenseAndOnAllowedPusEvenly) {
    for_each_plan([&](const Plan& made, const Host& host, std::uint32_t vcpus) {
        const auto& policy = GetParam();
        ASSERT_EQ(made.vcpus.size(), vcpus);
        std::map<std::uint32_t, std::uint32_t> load;
        for (std::uint32_t i = 0; i < vcpus; ++i) {
            const auto& vcpu = made.vcpus[i];
            ASSERT_EQ(vcpu.vcpu, i);
            ASSERT_EQ(vcpu.apic_id, apic_id_of(made.shape, i));
            ASSERT_LT(vcpu.virtual_node, made.nodes.size());
            ASSERT_FALSE(vcpu.reason.empty());
            ASSERT_EQ(vcpu.pus.size(), policy == Policy::none ? 0U : 1U);
            for (const auto pu : vcpu.pus) {
                ASSERT_TRUE(pu_by_os_index(host, pu).allowed);
                ++load[pu];
            }
        }
        if (policy == Policy::none) {
            ASSERT_EQ(made.max_vcpus_per_pu, 0U);
            return;
        }
        const auto pus = allowed_pus(host).size();
        ASSERT_EQ(load.size(), std::min<std::size_t>(pus, vcpus)) << "no PU twice before each has one";
        std::uint32_t least = ~0U, most = 0;
        for (const auto& [pu, count] : load) {
            least = std::min(least, count);
            most = std::max(most, count);
        }
        ASSERT_EQ(made.min_vcpus_per_pu, least);
        ASSERT_EQ(made.max_vcpus_per_pu, most);
        ASSERT_LE(most - least, 1U);
        ASSERT_EQ(vcpu_count(made.shape), vcpus);
    });
}

TEST_P(PlanProperties, MemoryIsConservedAndLiesWhereItMay) {
    for_each_plan([&](const Plan& made, const Host& host, std::uint32_t vcpus) {
        const auto& policy = GetParam();
        ASSERT_FALSE(made.nodes.empty());
        ASSERT_EQ(made.memory_bytes(), 512 * MiB + 4 * KiB);
        ASSERT_EQ(made.distances.size(), made.nodes.size());
        std::vector<std::uint64_t> members(made.nodes.size());
        for (const auto& vcpu : made.vcpus)
            ++members[vcpu.virtual_node];
        for (std::size_t i = 0; i < made.nodes.size(); ++i) {
            const auto& node = made.nodes[i];
            ASSERT_EQ(node.virtual_node, i);
            ASSERT_GT(node.memory_bytes, 0U);
            ASSERT_EQ(node.memory_bytes % (4 * KiB), 0U);
            ASSERT_GT(members[i], 0U) << "no virtual node without vCPUs";
            ASSERT_FALSE(node.reason.empty());
            ASSERT_EQ(node.host_node.has_value(), policy != Policy::none);
            const auto exact = static_cast<double>(made.memory_bytes()) * static_cast<double>(members[i]) /
                               static_cast<double>(vcpus);
            ASSERT_NEAR(static_cast<double>(node.memory_bytes), exact, 4096);
            if (node.host_node) {
                const auto* const on_host = node_by_os_index(host, *node.host_node);
                ASSERT_NE(on_host, nullptr);
                ASSERT_TRUE(on_host->allowed);
            }
            ASSERT_EQ(made.distances[i].size(), made.nodes.size());
            for (std::size_t j = 0; j < made.nodes.size(); ++j)
                ASSERT_EQ(made.distances[i][j] == local_distance, i == j);
        }
    });
}

TEST_P(PlanProperties, VcpusAreInTheNodeOfTheirPu) {
    for_each_plan([&](const Plan& made, const Host& host, std::uint32_t) {
        for (const auto& vcpu : made.vcpus) {
            if (vcpu.pus.empty())
                continue;
            const auto& own = host.nodes.at(pu_by_os_index(host, vcpu.pus[0]).node.value());
            const bool known = std::any_of(host.nodes.begin(), host.nodes.end(),
                                           [](const Node& node) { return node.memory_bytes > 0; });
            if (own.allowed && (own.memory_bytes > 0 || !known)) {
                ASSERT_EQ(made.nodes[vcpu.virtual_node].host_node, own.os_index) << vcpu.vcpu;
            }
        }
        if (made.policy == Policy::numa) {
            ASSERT_TRUE(
                std::is_sorted(made.vcpus.begin(), made.vcpus.end(),
                               [](const auto& a, const auto& b) { return a.virtual_node < b.virtual_node; }))
                << "each node's vCPUs are contiguous";
        }
    });
}

TEST_P(PlanProperties, AreDeterministicAndExplained) {
    for_each_plan([&](const Plan& made, const Host& host, std::uint32_t vcpus) {
        const auto& policy = GetParam();
        const auto again = plan(request_for(vcpus, policy), host);
        ASSERT_TRUE(again);
        ASSERT_EQ(again->shape, made.shape);
        ASSERT_EQ(again->notes, made.notes);
        for (std::uint32_t i = 0; i < vcpus; ++i) {
            ASSERT_EQ(again->vcpus[i].pus, made.vcpus[i].pus);
            ASSERT_EQ(again->vcpus[i].virtual_node, made.vcpus[i].virtual_node);
            ASSERT_EQ(again->vcpus[i].reason, made.vcpus[i].reason);
        }
        using testing::Contains;
        using testing::HasSubstr;
        ASSERT_THAT(made.notes, Contains(HasSubstr(fmt::format("policy {}", to_string(policy)))));
        ASSERT_THAT(made.notes, Contains(HasSubstr(fmt::format("shape {}", format_shape(made.shape)))));
        if (made.max_vcpus_per_pu > 1) {
            ASSERT_THAT(made.notes, Contains(HasSubstr("overcommitted")));
        }
        if (allowed_pus(host).size() < host.pus.size()) {
            ASSERT_THAT(made.notes, Contains(HasSubstr("not allowed")));
        }
    });
}

INSTANTIATE_TEST_SUITE_P(All, PlanProperties, testing::ValuesIn(all_policies()), [](const auto& instance) {
    auto name = to_string(instance.param);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '-' || c == ':'; }, '_');
    return name;
});

TEST(Plan, MemorySizesThatAreUnknownAreNoted) {
    const auto made = plan(request_for(4, Policy::numa), *discover("numa:2 core:4 pu:1"));
    ASSERT_TRUE(made);
    EXPECT_THAT(made->notes, testing::Contains(testing::HasSubstr("tells no memory sizes")));
}

TEST(Plan, NoMoreVirtualNodesThanPages) {
    auto request = request_for(8, Policy::numa, PageSize::huge_1g);
    request.memory_bytes = 2 * GiB;
    const auto host = discover("numa:4(memory=64GB) core:2 pu:1");
    const auto made = plan(request, *host);
    ASSERT_TRUE(made) << made.error().message();
    EXPECT_EQ(made->nodes.size(), 2U);
    EXPECT_EQ(made->memory_bytes(), 2 * GiB);
    EXPECT_EQ(made->vcpus[7].pus, std::vector<std::uint32_t>{7}) << "its PU is its own, its memory is not";
    EXPECT_THAT(made->notes, testing::Contains(testing::HasSubstr("no more virtual nodes than pages")));
}

TEST(Plan, AGivenShapeIsTakenAsItIs) {
    auto request = request_for(30, Policy::compact);
    request.shape = Shape{.sockets = 3, .cores = 5, .threads = 2};
    const auto made = plan(request, *discover("core:30 pu:1"));
    ASSERT_TRUE(made);
    EXPECT_EQ(made->shape, *request.shape);
    EXPECT_EQ(made->vcpus[29].apic_id, 0x29U);
}

} // namespace
} // namespace nestbed::topology
