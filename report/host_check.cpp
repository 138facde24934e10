#include "report/host_check.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "report/kvm_findings.hpp"

namespace nestbed::report {

namespace {

// kvm_run, the thread's stack and its guard page.
constexpr std::uint64_t maps_per_vcpu = 3;
// The program, its libraries, guest memory by node, the allocator's arenas.
constexpr std::uint64_t maps_besides_vcpus = 1024;
// Bytes resident beside the guest's memory: stack, kvm_run and what the VMM keeps of it.
constexpr std::uint64_t host_bytes_per_vcpu = 32 * KiB;

std::uint64_t memory_needed(const GuestNeeds& needs, std::uint32_t vcpus) {
    return needs.memory_bytes(vcpus) + vcpus * host_bytes_per_vcpu;
}

// How many vCPUs fit; 0 where not even one does.
std::uint32_t most_vcpus_in(const GuestNeeds& needs, std::uint64_t bytes) {
    std::uint32_t vcpus = 0;
    // What is needed grows with every vCPU: bit by bit from above.
    for (std::uint32_t bit = 1U << 16; bit > 0; bit /= 2)
        if (memory_needed(needs, vcpus + bit) <= bytes)
            vcpus += bit;
    return vcpus;
}

std::string plural(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

HostFinding unknown_topology(std::string name, std::string asked) {
    return {.name = std::move(name),
            .level = Level::missing,
            .needed_by = NeededBy::every_guest,
            .asked = std::move(asked),
            .found = "the host's topology cannot be read",
            .remedy = "lstopo-no-graphics --verbose"};
}

bool has_memory(const topology::Node& node) {
    return node.allowed && node.memory_bytes > 0;
}

HostFinding judge_cpus(const topology::Host& host) {
    const auto allowed = topology::allowed_pus(host).size();
    HostFinding finding{.name = "CPUs",
                        .level = Level::ok,
                        .needed_by = NeededBy::every_guest,
                        .asked = "1 or more",
                        .found = fmt::format("{} of {} allowed; {}, {}", allowed, host.pus.size(),
                                             plural(host.packages, "package"), plural(host.cores, "core")),
                        .remedy = {}};
    if (allowed == 0 && !host.pus.empty()) {
        finding.level = Level::missing;
        finding.remedy = fmt::format("taskset --pid --cpu-list 0-{} $$", host.pus.size() - 1);
    }
    return finding;
}

HostFinding judge_nodes(const topology::Host& host) {
    const auto with_memory = std::ranges::count_if(host.nodes, has_memory);
    HostFinding finding{.name = "NUMA nodes",
                        .level = Level::ok,
                        .needed_by = NeededBy::an_option,
                        .asked = "1 or more with memory",
                        .found = fmt::format("{} with memory, of {}", with_memory, host.nodes.size()),
                        .remedy = {}};
    if (with_memory == 0) {
        finding.level = Level::falls_short;
        finding.remedy = "numactl --show";
    }
    return finding;
}

HostFinding judge_memory(const topology::Host& host, const GuestNeeds& needs, std::uint32_t vcpus) {
    const auto needed = memory_needed(needs, vcpus);
    std::uint64_t free = 0;
    std::uint64_t total = 0;
    for (const auto& node : host.nodes)
        if (node.allowed) {
            free += node.free_bytes;
            total += node.memory_bytes;
        }
    const bool enough = free >= needed;
    const auto fitting = most_vcpus_in(needs, free);
    return {.name = "memory",
            .level = enough ? Level::ok : Level::falls_short,
            .needed_by = NeededBy::every_guest,
            .asked = fmt::format("{} free", format_size(needed)),
            .found = fmt::format("{} free of {}", format_size(free), format_size(total)),
            .remedy = enough        ? std::string{}
                      : fitting > 0 ? fmt::format("nestbed validate --vcpus {}", fitting)
                                    : "stop something of `ps -eo rss,pid,comm --sort=-rss | head`"};
}

HostFinding judge_huge_pages(const topology::Host& host, std::uint64_t guest_bytes, std::uint64_t page_bytes,
                             std::string_view option) {
    std::uint64_t nodes = 0;
    std::uint64_t free = 0;
    std::uint64_t total = 0;
    bool pool_exists = false;
    for (const auto& node : host.nodes) {
        if (!has_memory(node))
            continue;
        ++nodes;
        for (const auto& pool : node.huge_pages)
            if (pool.page_bytes == page_bytes) {
                pool_exists = true;
                free += pool.free;
                total += pool.total;
            }
    }
    // Each virtual node has whole pages of its own.
    const auto needed = std::max(round_up(guest_bytes, page_bytes) / page_bytes, nodes);
    HostFinding finding{.name = fmt::format("huge pages {}", option),
                        .level = Level::ok,
                        .needed_by = NeededBy::an_option,
                        .asked = fmt::format("{} free, for --hugepages {}", needed, option),
                        .found = fmt::format("{} free of {}", free, total),
                        .remedy = {}};
    if (free >= needed)
        return finding;
    finding.level = Level::falls_short;
    const auto pages = total + needed - free;
    if (pool_exists)
        finding.remedy =
            fmt::format("echo {} | sudo tee /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", pages,
                        page_bytes / KiB);
    else {
        finding.found = "this kernel or CPU has no such pages";
        finding.remedy = fmt::format("run without --hugepages {}", option);
    }
    return finding;
}

// A limit as HostFacts has it; a null pointer where it is not known.
const std::optional<std::uint64_t>* find_limit(const HostFacts& facts, const std::string& name) {
    const auto found = facts.limits.find(name);
    return found == facts.limits.end() ? nullptr : &found->second;
}

std::string limit_text(const std::optional<std::uint64_t>& limit) {
    return limit ? fmt::format("{}", *limit) : "unlimited";
}

struct LimitRule {
    std::string limit; // its name in HostFacts::limits
    std::string name;
    std::uint64_t needed = 0;
    std::string remedy;
};

std::vector<LimitRule> limit_rules(const GuestNeeds& needs, std::uint32_t vcpus) {
    const auto files = needs.open_files(vcpus);
    const auto threads = needs.threads(vcpus);
    const auto maps = vcpus * maps_per_vcpu + maps_besides_vcpus;
    // Others count as well, for a user or for the whole machine: the remedies leave them room.
    const auto roomy = threads * 4;
    return {
        // The soft limit is raised at the start.
        {"nofile_hard", "open files", files, fmt::format("sudo prlimit --pid $$ --nofile={}", files)},
        {"nproc", "threads of a user", threads, fmt::format("sudo prlimit --pid $$ --nproc={}", roomy)},
        {"kernel.threads-max", "threads", threads,
         fmt::format("sudo sysctl -w kernel.threads-max={}", roomy)},
        {"kernel.pid_max", "thread ids", threads,
         fmt::format("sudo sysctl -w kernel.pid_max={}", std::max<std::uint64_t>(roomy, 32768))},
        {"cgroup.pids.max", "threads of the cgroup", threads,
         fmt::format("sudo systemctl set-property user-$(id -u).slice TasksMax={}", roomy)},
        {"vm.max_map_count", "memory maps", maps,
         fmt::format("sudo sysctl -w vm.max_map_count={}", std::max<std::uint64_t>(maps, 65530))},
    };
}

std::optional<HostFinding> judge_limit(const HostFacts& facts, LimitRule rule) {
    const auto* const limit = find_limit(facts, rule.limit);
    if (limit == nullptr)
        return std::nullopt;
    const bool enough = !*limit || **limit >= rule.needed;
    return HostFinding{.name = std::move(rule.name),
                       .level = enough ? Level::ok : Level::falls_short,
                       .needed_by = NeededBy::every_guest,
                       .asked = fmt::format("{}", rule.needed),
                       .found = fmt::format("{} ({})", limit_text(*limit), rule.limit),
                       .remedy = enough ? std::string{} : std::move(rule.remedy)};
}

// Never short: nothing that runs by itself calls mlock(), and hugetlbfs pages are not counted (getrlimit(2)).
std::optional<HostFinding> judge_memory_lock(const HostFacts& facts) {
    const auto* const limit = find_limit(facts, "memlock");
    if (limit == nullptr)
        return std::nullopt;
    return HostFinding{.name = "memory lock",
                       .level = Level::ok,
                       .needed_by = NeededBy::an_option,
                       .asked = "none: guest memory is bound, not locked",
                       .found = *limit ? format_size(**limit) : "unlimited",
                       .remedy = {}};
}

HostFinding judge_nested(const HostState& state) {
    const auto& offer = state.nested;
    const bool offered = offer.extension != nested::Extension::none;
    HostFinding finding{.name = "nested",
                        .level = offered ? Level::ok : Level::falls_short,
                        .needed_by = NeededBy::an_option,
                        .asked = "VMX or SVM for guests",
                        .found = offered
                                     ? fmt::format("{}: {}", nested::to_string(offer.extension), offer.reason)
                                     : offer.reason,
                        .remedy = offer.remedy};
    if (!offered && finding.remedy.empty())
        finding.remedy =
            state.kvm_error
                ? "mend /dev/kvm first"
                : "use a host whose kvm_intel or kvm_amd has nested=1, or the emulated one of the lab";
    return finding;
}

} // namespace

std::string_view to_string(Level level) {
    switch (level) {
    case Level::ok:
        return "ok";
    case Level::falls_short:
        return "short";
    case Level::missing:
        return "missing";
    }
    return "unknown";
}

std::vector<HostFinding> judge_host(const HostState& state, const GuestNeeds& needs, std::uint32_t vcpus) {
    std::vector<HostFinding> findings;
    if (const auto& host = state.facts.topology) {
        findings.push_back(judge_cpus(*host));
        findings.push_back(judge_nodes(*host));
        findings.push_back(judge_memory(*host, needs, vcpus));
        findings.push_back(judge_huge_pages(*host, needs.memory_bytes(vcpus), 2 * MiB, "2M"));
        findings.push_back(judge_huge_pages(*host, needs.memory_bytes(vcpus), GiB, "1G"));
    } else {
        findings.push_back(unknown_topology("CPUs", "1 or more"));
    }
    for (auto& finding : judge_kvm(state, vcpus))
        findings.push_back(std::move(finding));
    findings.push_back(judge_nested(state));
    for (auto& rule : limit_rules(needs, vcpus))
        if (auto finding = judge_limit(state.facts, std::move(rule)))
            findings.push_back(std::move(*finding));
    if (auto finding = judge_memory_lock(state.facts))
        findings.push_back(std::move(*finding));
    return findings;
}

bool all_vcpus_run(std::span<const HostFinding> findings) {
    return std::ranges::none_of(findings, [](const HostFinding& finding) {
        return finding.needed_by == NeededBy::every_guest && finding.level != Level::ok;
    });
}

bool any_guest_runs(std::span<const HostFinding> findings) {
    return std::ranges::none_of(findings,
                                [](const HostFinding& finding) { return finding.level == Level::missing; });
}

std::string conclude(const HostState& state, const GuestNeeds& needs,
                     std::span<const std::uint32_t> vcpu_counts) {
    std::string text;
    for (const auto vcpus : vcpu_counts) {
        std::string hindrances;
        for (const auto& finding : judge_host(state, needs, vcpus))
            if (finding.needed_by == NeededBy::every_guest && finding.level != Level::ok)
                hindrances += (hindrances.empty() ? "" : ", ") + finding.name;
        text +=
            plural(vcpus, "vCPU") + (hindrances.empty() ? ": yes; " : fmt::format(": no ({}); ", hindrances));
    }
    const auto& offer = state.nested;
    if (offer.extension == nested::Extension::none)
        return text + fmt::format("nested: no ({})", offer.reason);
    return text + fmt::format("nested: {}", nested::to_string(offer.extension));
}

} // namespace nestbed::report
