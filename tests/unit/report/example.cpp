#include "tests/unit/report/example.hpp"

#include <array>
#include <chrono>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::report::test {

topology::Host example_host(std::uint32_t nodes, std::uint32_t pus_per_node) {
    topology::Host host;
    host.source = fmt::format("pack:{} [numa] pu:{}", nodes, pus_per_node);
    host.xml = "<topology version=\"2.0\"/>\n";
    host.packages = nodes;
    host.llcs = nodes;
    host.cores = nodes * pus_per_node / 2;
    for (std::uint32_t node = 0; node < nodes; ++node) {
        topology::Node one;
        one.os_index = node;
        one.memory_bytes = 512 * GiB;
        one.free_bytes = 500 * GiB;
        one.huge_pages = {{.page_bytes = 2 * MiB, .total = 100, .free = 90}};
        host.nodes.push_back(one);
        for (std::uint32_t i = 0; i < pus_per_node; ++i) {
            const auto pu = node * pus_per_node + i;
            host.pus.push_back({.os_index = pu,
                                .core = pu / 2,
                                .llc = node,
                                .package = node,
                                .node = node,
                                .allowed = true});
        }
        auto& row = host.distances.emplace_back(nodes, 20);
        row[node] = 10;
    }
    return host;
}

topology::Plan example_plan(const topology::Host& host, std::uint32_t vcpus) {
    const auto nodes = static_cast<std::uint32_t>(host.nodes.size());
    const auto pus_per_node = static_cast<std::uint32_t>(host.pus.size()) / nodes;
    const auto vcpus_per_node = (vcpus + nodes - 1) / nodes;
    topology::Plan plan;
    plan.policy = topology::Policy::numa;
    plan.page_size = topology::PageSize::huge_2m;
    plan.shape = {.sockets = nodes, .dies = 1, .cores = vcpus_per_node, .threads = 1};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        const auto node = vcpu / vcpus_per_node;
        const auto pu = node * pus_per_node + vcpu % vcpus_per_node % pus_per_node;
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = topology::apic_id_of(plan.shape, vcpu),
                              .virtual_node = node,
                              .pus = {pu},
                              .reason = fmt::format("its virtual node lives on host node {}", node)});
    }
    for (std::uint32_t node = 0; node < nodes; ++node)
        plan.nodes.push_back({.virtual_node = node,
                              .host_node = node,
                              .memory_bytes = GiB,
                              .reason = "an equal share of the memory"});
    plan.distances = host.distances;
    plan.min_vcpus_per_pu = vcpus_per_node / pus_per_node == 0 ? 1 : vcpus_per_node / pus_per_node;
    plan.max_vcpus_per_pu = (vcpus_per_node + pus_per_node - 1) / pus_per_node;
    plan.notes = {"one virtual node per host node",
                  "SMT siblings of the guest sit on SMT siblings of the host"};
    return plan;
}

RunResult full_result(std::uint32_t vcpus) {
    RunResult result;
    result.kind = "validate";
    result.started_at =
        std::chrono::sys_days{std::chrono::year{2026} / 11 / 22} + std::chrono::milliseconds{11'464'250};
    result.duration_s = 2.5;
    result.command_line = {"nestbed", "validate", "--vcpus", "8"};
    result.seed = 0xffff'ffff'ffff'ffff;
    result.outcome = Outcome::failed;
    result.error = Error{.kind = ErrorKind::check_failed,
                         .asked = "run vCPU 3",
                         .found = "a triple fault",
                         .remedy = "see its registers"};

    HostFacts host;
    host.kernel = "6.1.0-18-amd64";
    host.cpu_model = "Some CPU @ 2.00GHz";
    host.microcode = "0x2b000603";
    host.kvm_module = "kvm_amd";
    host.module_parameters = {{"kvm_amd.nested", "1"}, {"kvm.halt_poll_ns", "200000"}};
    host.kvm_capabilities = {{"KVM_CAP_MAX_VCPUS", 1024}, {"KVM_CAP_NESTED_STATE", 0}};
    host.limits = {{"nofile", 1024}, {"memlock", std::nullopt}};
    host.topology = example_host(2, 4);
    result.host = host;

    result.plan = example_plan(*host.topology, vcpus);
    result.machine = MachineFacts{.vcpus = vcpus,
                                  .shape = result.plan->shape,
                                  .memory_bytes = result.plan->memory_bytes(),
                                  .page_size = result.plan->page_size};

    constexpr std::array samples{900.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0};
    CheckResult failed;
    failed.name = "ipi.broadcast";
    failed.title = "A broadcast IPI reaches every vCPU once";
    failed.verdict = Verdict::fail;
    failed.seconds = 0.25;
    failed.summary = "vCPU 3 got none";
    failed.details = {"vCPU 3: 0 received, 1 expected"};
    failed.repeat = "nestbed validate --only ipi.broadcast --seed 7";
    failed.measurements = {measure("latency", "us", samples, 1, RawSamples::keep)};
    failed.facts["rounds"] = 10;
    CheckResult skipped;
    skipped.name = "nmi";
    skipped.title = "NMIs arrive";
    skipped.verdict = Verdict::skipped;
    skipped.reason = "this KVM has no NMI";
    result.checks = {failed, skipped};

    result.sweep = example_sweep();
    result.place_comparison = example_place_comparison();
    result.kvm_stats = KvmStatistics{
        .vcpu = {{"exits", {.unit = "", .values = std::vector<std::uint64_t>(vcpus, 0xffff'ffff'ffff'ffff)}}},
        .vm = {{"remote_tlb_flush", {.unit = "", .value = 12}}}};
    result.timings = {{.phase = "plan", .seconds = 0.001}, {.phase = "boot", .seconds = 1.25}};
    return result;
}

SweepPoint example_point(std::string driver, std::uint32_t vcpus, std::uint32_t repetition) {
    SweepPoint point;
    point.driver = std::move(driver);
    point.configuration = {.policy = "numa", .page_size = "2M", .nested = "svm:-vgif", .topology = "2x1x2x1"};
    point.vcpus = vcpus;
    point.repetition = repetition;
    point.seed = 0xffff'ffff'ffff'fffe;
    point.verdict = Verdict::pass;
    point.summary = "82656 sent, 82656 received";
    point.unit = "interrupts";
    point.operations = 82'656;
    point.seconds = 0.5;
    point.per_vcpu.assign(vcpus, 82'656.0 / vcpus);
    constexpr std::array samples{900.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0};
    point.distributions = {{.name = "latency",
                            .summary = summarize(samples, "us", 1),
                            .histogram = {.bounds = {0, 2, 4, 8}, .counts = {1, 2, 3}}}};
    Matrix matrix{.name = "latency", .unit = "us", .rows = vcpus, .columns = vcpus, .values = {}};
    for (std::uint32_t i = 0; i < vcpus * vcpus; ++i)
        matrix.values.push_back(i % (vcpus + 1) == 0 ? std::numeric_limits<float>::quiet_NaN()
                                                     : 1.5F + static_cast<float>(i));
    point.matrices = {matrix};
    point.facts = {{"remote_ns", 130.5}};
    point.kvm_stats = {{"exits", 0xffff'ffff'ffff'ffff}};
    point.repeat = "nestbed stress run ipi.unicast --vcpus 4 --seed 7";
    return point;
}

Sweep example_sweep() {
    Sweep sweep;
    sweep.points = {example_point("ipi.unicast", 1, 0), example_point("ipi.unicast", 4, 1)};
    auto late = example_point("locks", 4, 0);
    late.verdict = Verdict::hang;
    late.reason = "vCPU 3 was late";
    late.details = {"vCPU 3: no progress for 10 s"};
    late.operations = std::numeric_limits<double>::quiet_NaN();
    late.stuck = {{.vcpu = 3, .lines = {"rip=0x1000", "KVM_EXIT_HLT"}}};
    sweep.points.push_back(late);
    sweep.fits = {{.driver = "ipi.unicast",
                   .configuration = sweep.points[0].configuration,
                   .points = 2,
                   .lambda = {.value = 1000, .ci95 = {.low = 900, .high = 1100}},
                   .sigma = {.value = 0.05, .ci95 = {.low = 0.01, .high = 0.09}},
                   .kappa = {.value = 0.0001, .ci95 = {.low = 0.00005, .high = 0.0002}},
                   .knee = UslCoefficient{.value = 97.5, .ci95 = {.low = 70, .high = 140}},
                   .r_squared = 0.999,
                   .why_not = ""},
                  {.driver = "locks",
                   .configuration = sweep.points[0].configuration,
                   .points = 0,
                   .lambda = {},
                   .sigma = {},
                   .kappa = {},
                   .knee = {},
                   .r_squared = 0,
                   .why_not = "no point passed"}};
    return sweep;
}

PlaceComparison example_place_comparison() {
    const Configuration numa{.policy = "numa", .page_size = "2M", .nested = "svm:-vgif", .topology = ""};
    auto lying = numa;
    lying.topology = "lying";
    PlaceVerdict won{.driver = "memory",
                     .figure = "local_bytes_per_second",
                     .unit = "bytes/s",
                     .predictor = "vCPUs away from their memory",
                     .places = {{.configuration = numa, .predicted_cost = 0, .rounds = 10, .median = 5e9},
                                {.configuration = lying, .predicted_cost = {}, .rounds = 0}},
                     .lead =
                         PairedRatio{.ratio = 1.5, .rounds = 10, .ci95 = Interval{.low = 1.4, .high = 1.6}},
                     .why_no_winner = "",
                     .spearman = 1,
                     .kendall = 0.5,
                     .why_no_correlation = ""};
    auto open = won;
    open.driver = "c2c";
    open.lead->ci95.reset();
    open.why_no_winner = "3 rounds are too few to tell, 6 are needed";
    open.spearman.reset();
    open.kendall.reset();
    open.why_no_correlation = "all scores are the same";
    auto nothing = open;
    nothing.driver = "lock.spin";
    nothing.lead.reset();
    return {.drivers = {won, open, nothing}};
}

} // namespace nestbed::report::test
