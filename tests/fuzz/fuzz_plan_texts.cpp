// What people write about plans: plan files, matrices, policies and lists of numbers. The first byte chooses.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "require.hpp"
#include "topology/host.hpp"
#include "topology/number_list.hpp"
#include "topology/plan_file.hpp"
#include "topology/policy.hpp"

using nestbed::fuzz::require;

namespace {

void read_plan(std::string_view text) {
    static const auto host = nestbed::topology::discover("numa:2(memory=8GB) core:4 pu:2");
    const auto file = nestbed::topology::parse_plan_file(text);
    if (!file) {
        require(!file.error().found.empty());
        return;
    }
    require(file->vcpus() > 0 && !file->nodes.empty());
    for (const auto& place : file->places)
        require(place.node < file->nodes.size());
    nestbed::topology::Policy policy{nestbed::topology::Policy::file};
    policy.plan_file = std::make_shared<const nestbed::topology::PlanFile>(*file);
    nestbed::topology::PlanRequest request;
    request.vcpus = file->vcpus();
    request.memory_bytes = file->memory_bytes();
    request.page_size = file->page_size;
    request.policy = policy;
    const auto plan = nestbed::topology::plan(request, *host);
    require(plan.has_value() || !plan.error().found.empty());
    if (plan)
        require(nestbed::topology::parse_plan_file(nestbed::topology::format_plan_file(*plan, *host))
                    .has_value());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return -1;
    const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
    switch (data[0]) {
    case 'm':
        if (const auto traffic = nestbed::topology::parse_traffic_csv(text))
            for (const auto& edges : traffic->of)
                for (const auto& edge : edges)
                    require(edge.to < traffic->vcpus() && edge.weight > 0);
        return 0;
    case 'p':
        if (const auto policy = nestbed::topology::parse_policy(text))
            require(nestbed::topology::parse_policy(to_string(*policy)) == *policy);
        return 0;
    case 'n':
        if (const auto numbers = nestbed::topology::parse_number_list(text, 1U << 20, 1U << 12))
            require(nestbed::topology::parse_number_list(nestbed::topology::format_number_list(*numbers),
                                                         1U << 20, 1U << 12) == *numbers);
        return 0;
    case 't':
        read_plan(text);
        return 0;
    default:
        return -1;
    }
}
