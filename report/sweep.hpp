// What `nestbed stress run` measured: one point for each driver, configuration, vCPU count and repetition.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/stats.hpp"
#include "report/verdict.hpp"

namespace nestbed::report {

// Samples counted by size: counts[i] is of those in [bounds[i], bounds[i + 1]). `bounds` ascends and has one
// more element than `counts`.
struct Histogram {
    std::vector<double> bounds; // in the unit of the Distribution
    std::vector<std::uint64_t> counts;
};

// One kind of samples: the latency of an IPI, the cost of an exit of one reason.
struct Distribution {
    std::string name; // "latency", "cpuid"
    Summary summary;  // with the unit
    Histogram histogram;
};

// A figure for each pair of vCPUs.
struct Matrix {
    std::string name;          // "latency"
    std::string unit;          // "us"
    std::uint32_t rows = 0;    // the vCPU that sends, owns, or measures
    std::uint32_t columns = 0; // the other one
    std::vector<float> values; // row by row; NaN where nothing was measured
};

// What a sweep varies besides vCPUs and repetition.
struct Configuration {
    std::string policy;    // "numa", "traffic:ring"
    std::string page_size; // "4K", "2M", "1G", "thp"
    std::string nested;    // the profile as it was asked for: "auto", "svm:-vgif"
    std::string topology;  // the shape as it was asked for: "", "flat", "2x1x8x2"

    auto operator<=>(const Configuration&) const = default;
};

// A vCPU that did not get on before its deadline.
struct StuckVcpu {
    std::uint32_t vcpu = 0;
    std::vector<std::string> lines; // registers, mp_state, last exits, kernel stack where it can be read
};

struct SweepPoint {
    std::string driver; // "ipi.unicast"
    Configuration configuration;
    std::uint32_t vcpus = 0;
    std::uint32_t repetition = 0; // 0, 1, ...
    std::uint64_t seed = 0;
    // pass: the invariant held; fail: it did not; hang: a vCPU or the machine was late; crash: the machine
    // died; skipped, not_run: see the reason.
    Verdict verdict = Verdict::not_run;
    std::string summary;              // what was counted: "82656 sent, 82656 received, 0 wrong"
    std::string reason;               // of skipped and not_run; else empty
    std::vector<std::string> details; // lines
    std::string unit;                 // of operations: "interrupts", "pages", "bytes"
    double operations = 0;            // done in `seconds`
    double seconds = 0;               // by the host's clock, of the work alone
    std::vector<double> per_vcpu;     // operations by vCPU; may be empty
    std::vector<Distribution> distributions;
    std::vector<Matrix> matrices;
    std::map<std::string, double> facts; // whatever else the driver knows, by name: "remote_ns"
    std::map<std::string, std::uint64_t>
        kvm_stats; // KVM's vCPU statistics, what they grew by, over all vCPUs
    std::vector<StuckVcpu> stuck;
    std::string repeat; // the command line that runs this point alone
};

// Operations per second, whatever the verdict; empty where nothing was measured.
[[nodiscard]] std::optional<double> throughput(const SweepPoint& point);

// The Universal Scalability Law (Gunther): X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)).
struct UslCoefficient {
    double value = 0;
    Interval ci95; // 95 % confidence
};

struct UslFit {
    std::string driver;
    Configuration configuration;
    std::uint64_t points = 0;           // that it was fitted to
    UslCoefficient lambda;              // operations per second of one vCPU alone
    UslCoefficient sigma;               // contention: the share of the work that is serial
    UslCoefficient kappa;               // coherency: the cost of keeping each pair of vCPUs consistent
    std::optional<UslCoefficient> knee; // vCPUs of the greatest throughput; empty where kappa is 0
    double r_squared = 0;
    std::string why_not; // why there is no fit (fewer than 3 vCPU counts, ...); then the rest is empty
};

struct Sweep {
    std::vector<SweepPoint> points; // in the order in which they ran
    std::vector<UslFit> fits;
};

} // namespace nestbed::report
