// A sweep as others watch it: a timeline in a file, metrics for whoever asks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "report/metrics/metrics_server.hpp"
#include "report/openmetrics.hpp"
#include "report/trace.hpp"
#include "stress/sweep/sweep.hpp"

namespace nestbed::cli {

// What the metrics are made of.
struct SweepState {
    stress::Progress progress;
    std::uint64_t points = 0; // that are over
    std::uint64_t bad = 0;    // of these: failed, hung, crashed
    std::string driver;       // of the last point
    std::uint32_t vcpus = 0;
    double throughput = 0;
    machine::MachineStatistics counted; // of the last machine, as read: sampled often, asked for seldom
};

[[nodiscard]] std::string metrics_text(const SweepState& state);

struct KeptSample {
    std::uint32_t point = 0;
    std::uint64_t at_ns = 0;
    machine::MachineStatistics statistics;
    bool has_rates = false; // up to here
};

// Nothing of what was not asked for. Its functions are those of a stress::SweepObserver.
class StressWatch {
public:
    // A file and an address; either may be empty. Errors: bad_input, host_lacks.
    [[nodiscard]] static Result<std::unique_ptr<StressWatch>> start(const std::string& trace,
                                                                    const std::string& metrics);

    void progress(const stress::Progress& now) { _state.progress = now; }
    void phase(const stress::SweepPhase& phase);
    void sampled(const stress::SweepSample& sample);
    void exits(const stress::SweepExits& exits);
    void ipis(const stress::SweepIpis& ipis);
    void finished(const report::SweepPoint& point);

    // Errors: host_lacks where the trace could not be written.
    [[nodiscard]] Status close();
    [[nodiscard]] std::optional<std::uint16_t> port() const;

private:
    template<typename Rate>
    void trace_counters(const KeptSample& sample, Rate rate);
    void trace_rates(const stress::SweepSample& sample);
    void end_rates();

    [[nodiscard]] std::uint64_t ns(supervise::Clock::time_point time) const;

    supervise::Clock::time_point _start = supervise::Clock::now();
    SweepState _state;
    std::vector<stress::SweepPhase> _phases; // of the point at hand
    std::optional<KeptSample> _sample;       // the last one before
    std::uint64_t _arrows = 0;               // drawn so far
    std::optional<report::TraceWriter> _trace;
    std::optional<report::MetricsServer> _server; // asks for _state, so it goes first
};

} // namespace nestbed::cli
