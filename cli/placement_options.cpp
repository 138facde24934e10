#include "cli/placement_options.hpp"

#include "base/first_error.hpp"
#include "base/units.hpp"

namespace nestbed::cli {

namespace {

constexpr std::uint64_t most_vcpus = 1U << 20;

} // namespace

void PlacementOptions::add_to(CLI::App& command) {
    command.add_option("--vcpus", vcpus, "Number of vCPUs, or \"max\" for as many as KVM allows")
        ->type_name("N|max");
    command.add_option("--memory", memory, "Guest memory, such as 512M or 4G [what the vCPUs need]")
        ->type_name("SIZE");
    command.add_option("--policy", policy, "Placement: none, compact, scatter or numa")
        ->type_name("NAME")
        ->capture_default_str();
    command
        .add_option("--topology", topology,
                    "What the guest is shown: SOCKETSxCORESxTHREADS, SOCKETSxDIESxCORESxTHREADS or "
                    "sockets=2,cores=8 [derived from the placement]")
        ->type_name("SHAPE");
    command.add_option("--hugepages", page_size, "Pages behind the guest's memory: 4K, thp, 2M or 1G")
        ->type_name("SIZE")
        ->capture_default_str();
}

void PlacementOptions::add_nested_to(CLI::App& command) {
    command
        .add_option("--nested", nested,
                    "What the guest is shown of VMX and SVM: off, auto, require, or one of them without some "
                    "features, as in svm:-npt,-vgif or vmx:-ept,-shadow_vmcs; `nestbed check --nested` names "
                    "them. What needs a hidden feature of VMX is hidden with it")
        ->type_name("PROFILE")
        ->capture_default_str();
}

Result<stress::MachineRequest> PlacementOptions::read() const {
    stress::MachineRequest values;
    values.all_vcpus = vcpus == "max";
    if (!vcpus.empty() && !values.all_vcpus) {
        const auto count = parse_count(vcpus, "--vcpus", most_vcpus);
        if (!count)
            return tl::unexpected{count.error()};
        if (*count == 0)
            return fail(ErrorKind::bad_input, "--vcpus 0", "a machine needs a vCPU", "use --vcpus 1 or more");
        values.vcpus = static_cast<std::uint32_t>(*count);
    }
    if (!memory.empty()) {
        const auto bytes = parse_size(memory);
        if (!bytes)
            return tl::unexpected{bytes.error()};
        values.memory_bytes = *bytes;
    }
    const auto named = topology::parse_policy(policy);
    const auto pages = topology::parse_page_size(page_size);
    if (auto both = first_error(named, pages); !both)
        return tl::unexpected{both.error()};
    values.policy = *named;
    values.page_size = *pages;
    const auto profile = nested::parse_profile(nested);
    if (!profile)
        return tl::unexpected{profile.error()};
    values.nested = *profile;
    if (!topology.empty()) {
        const auto shape = topology::parse_shape(topology);
        if (!shape)
            return tl::unexpected{shape.error()};
        values.shape = *shape;
    }
    return values;
}

} // namespace nestbed::cli
