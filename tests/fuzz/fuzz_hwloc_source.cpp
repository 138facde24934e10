// Any text as the description of a host, and a plan for what comes of it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/units.hpp"
#include "require.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"
#include "topology/virtual_topology.hpp"

using nestbed::fuzz::require;

namespace {

// Hosts larger than this take hwloc longer than a fuzzer has.
constexpr std::size_t most_digits_in_a_row = 2;
constexpr std::size_t most_bytes = 64;

// Neither this host nor the name of a file: a colon is in no file's name here, and a slash could lead
// anywhere.
bool is_description(std::string_view text) {
    if (text.size() > most_bytes || text.find(':') == std::string_view::npos ||
        text.find_first_of("/.\0") != std::string_view::npos)
        return false;
    std::size_t digits = 0;
    std::size_t numbers = 0;
    for (const char c : text) {
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        numbers += digits == 1 ? 1U : 0U;
        if (digits > most_digits_in_a_row || numbers > 6)
            return false;
    }
    return true;
}

} // namespace

// hwloc 2.9 leaks the attributes of a description that it refuses ("pack:2 [numa(memory=2GB)] co pu:2"); what
// is ours to free is still seen.
extern "C" const char*
__lsan_default_suppressions() { // NOLINT(bugprone-reserved-identifier): the sanitizer's name
    return "leak:libhwloc";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    if (!is_description(text))
        return -1;
    const auto host = nestbed::topology::discover(text);
    if (!host) {
        require(!host.error().found.empty());
        return 0;
    }
    require(!host->is_this_host && !host->pus.empty());
    require(host->distances.size() == host->nodes.size());
    for (const auto& pu : host->pus)
        require(!pu.node || *pu.node < host->nodes.size());
    if (host->pus.size() > 256)
        return 0;
    for (const auto& policy : nestbed::topology::all_policies()) {
        const auto plan = nestbed::topology::plan({.vcpus = 5,
                                                   .memory_bytes = 64 * nestbed::MiB,
                                                   .policy = policy,
                                                   .page_size = nestbed::topology::PageSize::base,
                                                   .shape = {}},
                                                  *host);
        if (!plan)
            continue;
        require(plan->vcpus.size() == 5 && vcpu_count(plan->shape) == 5 && !plan->nodes.empty());
        require(plan->memory_bytes() >= 64 * nestbed::MiB);
        for (const auto& vcpu : plan->vcpus)
            require(vcpu.virtual_node < plan->nodes.size() &&
                    vcpu.apic_id == apic_id_of(plan->shape, vcpu.vcpu));
    }
    return 0;
}
