#include "cli/placement_options.hpp"

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "topology/plan_file.hpp"

namespace nestbed::cli {

namespace {

constexpr std::uint64_t most_vcpus = 1U << 20;

Result<topology::Policy> read_named_policy(const PlacementOptions& options) {
    if (options.plan_file.empty())
        return topology::read_policy(options.policy);
    return topology::read_policy("file:" + options.plan_file);
}

// What a file knows needs not be asked for: a plan's vCPUs, memory and pages, a matrix's vCPUs. plan()
// refuses what contradicts it.
Status take_from_policy(stress::MachineRequest& values, const PlacementOptions& options) {
    const auto& policy = values.policy;
    const bool is_open =
        !values.vcpus && !values.all_vcpus && options.topology.find_first_of("x=") == std::string::npos;
    if (policy.kind == topology::Policy::traffic && policy.matrix.matrix && is_open)
        values.vcpus = policy.matrix.matrix->vcpus();
    if (policy.kind != topology::Policy::file)
        return {};
    if (values.all_vcpus)
        return fail(ErrorKind::bad_input, "--vcpus max with a plan file", "the file says how many there are",
                    "leave --vcpus out");
    if (!values.vcpus)
        values.vcpus = policy.plan_file->vcpus();
    if (!values.memory_bytes)
        values.memory_bytes = policy.plan_file->memory_bytes();
    const bool is_typed = options.page_size_option != nullptr && options.page_size_option->count() > 0;
    if (!is_typed && options.page_size == PlacementOptions{}.page_size)
        values.page_size = policy.plan_file->page_size;
    return {};
}

} // namespace

void PlacementOptions::add_to(CLI::App& command) {
    command.add_option("--vcpus", vcpus, "Number of vCPUs, or \"max\" for as many as KVM allows")
        ->type_name("N|max");
    command.add_option("--memory", memory, "Guest memory, such as 512M or 4G [what the vCPUs need]")
        ->type_name("SIZE");
    auto* const policy_option =
        command
            .add_option(
                "--policy", policy,
                "Placement: none, compact, scatter, numa, llc, smt-avoid, smt-pair, interleave, random:SEED, "
                "traffic:PATTERN or traffic:FILE.csv (see `nestbed plan --help`)")
            ->type_name("NAME")
            ->capture_default_str();
    command
        .add_option(
            "--topology", topology,
            "What the guest is shown: flat (one socket, one thread a core), matching (derived from the "
            "placement), lying (neighbours are shown to be close and are far apart), SOCKETSxCORESxTHREADS, "
            "SOCKETSxDIESxCORESxTHREADS or sockets=2,cores=8 [matching]")
        ->type_name("SHAPE");
    command
        .add_option(
            "--plan", plan_file,
            "A plan file, as `nestbed plan --write` writes it: it says how many vCPUs there are, where "
            "they run and where their memory is from")
        ->type_name("FILE")
        ->excludes(policy_option);
    page_size_option =
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
    const auto named = read_named_policy(*this);
    const auto pages = topology::parse_page_size(page_size);
    if (auto both = first_error(named, pages); !both)
        return tl::unexpected{both.error()};
    values.policy = *named;
    values.page_size = *pages;
    if (auto taken = take_from_policy(values, *this); !taken)
        return tl::unexpected{taken.error()};
    const auto profile = nested::parse_profile(nested);
    if (!profile)
        return tl::unexpected{profile.error()};
    values.nested = *profile;
    values.flat_shape = topology == "flat";
    values.lying_shape = topology == "lying";
    if (!topology.empty() && topology != "flat" && topology != "matching" && topology != "lying") {
        const auto shape = topology::parse_shape(topology);
        if (!shape)
            return tl::unexpected{shape.error()};
        values.shape = *shape;
    }
    return values;
}

} // namespace nestbed::cli
