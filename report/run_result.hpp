// What one run asked, did and found, as a value: everything needed to repeat it and to compare it with
// others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/place_comparison.hpp"
#include "report/stats.hpp"
#include "report/sweep.hpp"
#include "report/verdict.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::report {

// Of the document; docs/result-format.md says when it grows.
inline constexpr int schema_version = 1;

// "0.1.0".
[[nodiscard]] std::string_view program_version();

enum class Outcome { passed, failed, bad_input, host_lacks, cancelled, deadline };

[[nodiscard]] std::string_view to_string(Outcome outcome);
// to_string() backwards; empty for any other word.
[[nodiscard]] std::optional<Outcome> parse_outcome(std::string_view word);
[[nodiscard]] Outcome outcome_of(ErrorKind kind);
// 0 for a pass, else that of the ErrorKind of the same name.
[[nodiscard]] int exit_code(Outcome outcome);

struct Measurement {
    std::string name;
    Summary summary; // with the unit
    // In the order they were taken, those of the warm-up included; empty where only the summary is kept.
    std::vector<double> samples;
};

enum class RawSamples { drop, keep };

// Samples in `unit`, the first `warmup` of which stay out of the summary.
[[nodiscard]] Measurement measure(std::string name, std::string unit, std::span<const double> samples,
                                  std::size_t warmup = 0, RawSamples raw = RawSamples::drop);

struct CheckResult {
    std::string name;      // stable, for scripts: "ipi.broadcast"
    std::string title;     // for people
    std::string reference; // manual and section that it holds the machine to; may be empty
    Verdict verdict = Verdict::not_run;
    double seconds = 0;
    std::string summary;              // one line: what was found
    std::string reason;               // why it was skipped, not run or not applicable; else empty
    std::string known;                // why this verdict was expected and counts as held; else empty
    std::vector<std::string> details; // lines, as many as the check thinks useful
    std::string repeat;               // the command line that runs this check alone
    std::vector<Measurement> measurements;
    nlohmann::json facts = nlohmann::json::object(); // whatever else the check knows, by name
};

// Failed where a verdict is bad and not known, else passed; skipped checks change nothing.
[[nodiscard]] Outcome outcome_of(std::span<const CheckResult> checks);

// An empty string is "not known".
struct HostFacts {
    std::string kernel;    // uname -r
    std::string cpu_model; // "model name" of /proc/cpuinfo
    std::string microcode; // "0x2b000603"
    // "kvm_intel", "kvm_amd" or another that serves /dev/kvm; empty where none does.
    std::string kvm_module;
    std::map<std::string, std::string> module_parameters; // "kvm_amd.nested" -> "1"
    std::map<std::string, std::int64_t>
        kvm_capabilities; // "KVM_CAP_MAX_VCPUS" -> what KVM_CHECK_EXTENSION says
    std::map<std::string, std::optional<std::uint64_t>> limits; // "nofile" -> soft limit; empty: unlimited
    std::optional<topology::Host> topology;
};

struct MachineFacts {
    std::uint32_t vcpus = 0;
    topology::Shape shape;
    std::uint64_t memory_bytes = 0;
    topology::PageSize page_size = topology::PageSize::base;
};

// One of KVM's statistics, at the end of the run.
struct VcpuStatistic {
    std::string unit;                  // "" for a count
    std::vector<std::uint64_t> values; // by vCPU
};

struct VmStatistic {
    std::string unit;
    std::uint64_t value = 0;
};

// By KVM's names for them: "exits", "halt_exits", ...
struct KvmStatistics {
    std::map<std::string, VcpuStatistic> vcpu;
    std::map<std::string, VmStatistic> vm;
};

struct Timing {
    std::string phase;
    double seconds = 0;
};

struct RunResult {
    std::string version{program_version()};
    std::string kind;                                 // the command: "validate", "bench", ...
    std::chrono::system_clock::time_point started_at; // what is not set is 1970
    double duration_s = 0;
    std::vector<std::string> command_line; // argv
    std::optional<std::uint64_t> seed;     // empty where nothing is random
    Outcome outcome = Outcome::failed;
    std::optional<Error> error; // what ended the run; always there for bad_input and host_lacks
    std::optional<HostFacts> host;
    std::optional<MachineFacts> machine;
    std::optional<topology::Plan> plan;
    std::vector<CheckResult> checks;
    std::optional<Sweep> sweep; // of `stress` and `place compare`
    std::optional<PlaceComparison> place_comparison;
    std::optional<KvmStatistics> kvm_stats;
    std::vector<Timing> timings; // in the order of the phases
};

} // namespace nestbed::report
