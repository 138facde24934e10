#include "cli/stress_watch.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/machine/exit_text.hpp"
#include "core/supervise/epoll_scheduler.hpp"
#include "report/arrows.hpp"
#include "stress/kvm_statistics.hpp"

namespace nestbed::cli {

namespace {

// KVM's statistics that a timeline shows: exits of all kinds, interrupts that arrived, halts, entries of L2.
constexpr std::array<std::string_view, 4> traced_counters{"exits", "irq_injections", "halt_exits",
                                                          "nested_run"};

} // namespace

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
    return report::to_openmetrics(stress::kvm_statistics(state.counted),
                                  report::cumulative_names({.entries = state.counted.entries}), gauges);
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

void StressWatch::sampled(const stress::SweepSample& sample) {
    if (_trace)
        trace_rates(sample);
    if (_server)
        _state.counted = sample.statistics;
}

// `rate` of each counter and vCPU, and of all vCPUs together.
template<typename Rate>
void StressWatch::trace_counters(const KeptSample& sample, Rate rate) {
    for (const auto& entry : sample.statistics.entries) {
        if (std::ranges::find(traced_counters, entry.name) == traced_counters.end())
            continue;
        double all = 0;
        for (std::size_t vcpu = 0; vcpu < sample.statistics.vcpus.size(); ++vcpu) {
            const double own = rate(entry, vcpu);
            all += own;
            _trace->counter(sample.point, fmt::format("vCPU {} {}/s", vcpu, entry.name), sample.at_ns, own);
        }
        _trace->counter(sample.point, fmt::format("{}/s", entry.name), sample.at_ns, all);
    }
}

// How fast the counters grow from one sample to the next. A curve keeps its value until it gets another, so
// it gets this one where the time begins that it is of.
void StressWatch::trace_rates(const stress::SweepSample& sample) {
    const auto at = ns(sample.time);
    const bool goes_on = _sample && _sample->point == sample.point;
    bool has_rates = goes_on && _sample->has_rates;
    if (goes_on && at > _sample->at_ns) {
        const auto seconds = static_cast<double>(at - _sample->at_ns) * 1e-9;
        trace_counters(*_sample, [&](const kvm::StatisticDescription& entry, std::size_t vcpu) {
            const auto now = kvm::value_of(entry, sample.statistics.vcpus[vcpu]);
            const auto before = kvm::value_of(entry, _sample->statistics.vcpus[vcpu]);
            return now < before ? 0 : static_cast<double>(now - before) / seconds;
        });
        has_rates = true;
    }
    _sample = {sample.point, at, sample.statistics, has_rates};
}

// Or they would go on to the end of the timeline.
void StressWatch::end_rates() {
    if (_sample && _sample->has_rates)
        trace_counters(*_sample, [](const kvm::StatisticDescription&, std::size_t) { return 0.0; });
    _sample.reset();
}

void StressWatch::exits(const stress::SweepExits& exits) {
    if (!_trace)
        return;
    for (std::size_t vcpu = 0; vcpu < exits.vcpus.size(); ++vcpu)
        for (const auto& [time, exit] : exits.vcpus[vcpu])
            _trace->instant({exits.point, static_cast<std::int64_t>(vcpu)}, machine::exit_text(exit.reason),
                            ns(time), {{"detail", fmt::format("{:#x}", exit.detail)}});
}

void StressWatch::ipis(const stress::SweepIpis& ipis) {
    if (!_trace)
        return;
    std::vector<report::Arrow> arrows;
    arrows.reserve(ipis.ipis.size());
    for (const auto& ipi : ipis.ipis)
        arrows.push_back({ipi.sender, ipi.receiver, ns(ipi.sent), ns(ipi.taken)});
    for (const auto& slice : report::arrange(arrows)) {
        const report::Track track{ipis.point, slice.track};
        const auto& first = arrows[slice.arrows.front()];
        const auto name = !slice.is_start            ? fmt::format("IPI from vCPU {}", first.from)
                          : slice.arrows.size() == 1 ? fmt::format("IPI to vCPU {}", first.to)
                                                     : fmt::format("IPI to {} vCPUs", slice.arrows.size());
        _trace->slice(track, name, slice.start_ns, slice.duration_ns);
        for (const auto arrow : slice.arrows)
            if (slice.is_start)
                _trace->arrow_from(track, "IPI", _arrows + arrow, slice.start_ns);
            else
                _trace->arrow_to(track, "IPI", _arrows + arrow, slice.start_ns);
    }
    _arrows += arrows.size();
    if (ipis.left_out != 0)
        _trace->instant({ipis.point, -1}, "IPIs left out, which cannot be",
                        arrows.empty() ? 0 : arrows.front().start_ns,
                        {{"IPIs", std::to_string(ipis.left_out)}});
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
    end_rates();
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
