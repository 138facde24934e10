#include "cli/stress_watch.hpp"

#include <utility>

#include <fmt/format.h>

#include "core/supervise/epoll_scheduler.hpp"
#include "stress/kvm_statistics.hpp"

namespace nestbed::cli {

std::string metrics_text(const SweepState& state) {
    std::vector<report::Gauge> gauges{
        {"nestbed_sweep_done_ratio", "How much of the sweep is over", state.progress.fraction, {}},
        {"nestbed_sweep_points_done", "Points that are over", static_cast<double>(state.points), {}},
        {"nestbed_sweep_points_bad",
         "Points that failed, hung or crashed",
         static_cast<double>(state.bad),
         {}},
    };
    if (!state.driver.empty())
        gauges.push_back({"nestbed_sweep_last_throughput",
                          "Operations per second of the last point",
                          state.throughput,
                          {{"driver", state.driver}, {"vcpus", std::to_string(state.vcpus)}}});
    return report::to_openmetrics(state.statistics, state.cumulative, gauges);
}

Result<std::unique_ptr<StressWatch>> StressWatch::start(const std::string& trace,
                                                        const std::string& metrics) {
    auto watch = std::make_unique<StressWatch>();
    if (!trace.empty()) {
        auto writer = report::TraceWriter::create(trace);
        if (!writer)
            return tl::unexpected{writer.error()};
        watch->_trace.emplace(std::move(*writer));
    }
    if (!metrics.empty()) {
        if (auto scheduler = supervise::use_epoll_scheduler(); !scheduler)
            return tl::unexpected{scheduler.error()};
        auto server = report::MetricsServer::start(
            metrics, [self = watch.get()] { return metrics_text(self->_state); });
        if (!server)
            return tl::unexpected{server.error()};
        watch->_server.emplace(std::move(*server));
    }
    return watch;
}

std::uint64_t StressWatch::ns(supervise::Clock::time_point time) const {
    return time < _start ? 0
                         : static_cast<std::uint64_t>(
                               std::chrono::duration_cast<std::chrono::nanoseconds>(time - _start).count());
}

void StressWatch::phase(const stress::SweepPhase& phase) {
    if (_trace)
        _phases.push_back(phase);
}

void StressWatch::counted(const machine::MachineStatistics& statistics) {
    if (!_server)
        return;
    _state.statistics = stress::kvm_statistics(statistics);
    _state.cumulative = report::cumulative_names({.entries = statistics.entries});
}

void StressWatch::finished(const report::SweepPoint& point) {
    ++_state.points;
    const bool bad = report::is_bad(point.verdict) && point.verdict != report::Verdict::not_run;
    _state.bad += bad ? 1U : 0U;
    _state.driver = point.driver;
    _state.vcpus = point.vcpus;
    _state.throughput = report::throughput(point).value_or(0);
    if (!_trace)
        return;
    for (const auto& phase : std::exchange(_phases, {})) {
        const auto start = ns(phase.start);
        const auto duration = ns(phase.end) - start;
        if (phase.phase == "create" || phase.phase == "work")
            _trace->name_machine(phase.point,
                                 fmt::format("{}, {}", point.driver, stress::vcpus_text(point.vcpus)));
        _trace->slice({phase.point, -1}, phase.phase, start, duration,
                      {{"verdict", std::string{report::to_string(point.verdict)}}});
        if (phase.phase != "work")
            continue;
        for (std::size_t vcpu = 0; vcpu < point.per_vcpu.size(); ++vcpu) {
            const report::Track track{phase.point, static_cast<std::int64_t>(vcpu)};
            _trace->name_track(track, fmt::format("vCPU {}", vcpu));
            _trace->slice(track, point.driver, start, duration,
                          {{point.unit, fmt::format("{:.0f}", point.per_vcpu[vcpu])}});
        }
    }
}

Status StressWatch::close() {
    return _trace ? _trace->close() : Status{};
}

std::optional<std::uint16_t> StressWatch::port() const {
    return _server ? std::optional{_server->port()} : std::nullopt;
}

} // namespace nestbed::cli
