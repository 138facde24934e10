#include "stress/sweep/sweep.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "report/host_facts.hpp"
#include "report/nested_offer.hpp"
#include "report/usl.hpp"
#include "stress/drivers/died.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/kvm_statistics.hpp"
#include "stress/sweep/place_questions.hpp"
#include "stress/sweep/schedule.hpp"
#include "stress/sweep/vcpu_counts.hpp"

namespace nestbed::stress {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of a word that a shell would take apart.
std::string quoted(const std::string& word) {
    return word.find_first_of(" *?;$&|<>()'\"\\") == std::string::npos ? word : fmt::format("'{}'", word);
}

void take_counted(report::SweepPoint& point, Counted counted) {
    point.verdict = counted.verdict;
    point.summary = std::move(counted.summary);
    point.reason = std::move(counted.reason);
    point.details = std::move(counted.details);
    point.operations = counted.operations;
    point.seconds = counted.seconds;
    point.per_vcpu = std::move(counted.per_vcpu);
    point.distributions = std::move(counted.distributions);
    point.matrices = std::move(counted.matrices);
    point.facts = std::move(counted.facts);
    point.stuck = std::move(counted.stuck);
}

// One sweep, point by point.
class Run {
public:
    Run(const SweepRequest& request, supervise::Supervisor& supervisor, const SweepObserver& observer)
        : _request{request}, _supervisor{supervisor}, _observer{observer} {
        _result.kind = "stress";
        _result.started_at = std::chrono::system_clock::now();
        _result.seed = request.seed;
        _result.sweep.emplace();
    }

    report::RunResult go() {
        if (auto ready = prepare(); !ready)
            _result.error = ready.error();
        else if (_request.mix)
            run_mix();
        else
            run_points();
        if (!_request.mix)
            _result.sweep->fits =
                report::fit_sweep(_result.sweep->points, {.seed = _request.seed}, not_parallel_drivers());
        _result.outcome = outcome_of(*_result.sweep, _result.error);
        _result.duration_s = seconds_since(_start);
        return std::move(_result);
    }

private:
    Status prepare() {
        _host = topology::discover("auto");
        auto kvm = kvm::Kvm::open();
        _result.host = report::gather_host_facts(_host ? &*_host : nullptr, kvm ? &*kvm : nullptr);
        if (!_host)
            return tl::unexpected{_host.error()};
        if (!kvm)
            return tl::unexpected{kvm.error()};
        _offer = report::nested_offer(*kvm);
        const auto most = static_cast<std::uint32_t>(std::max(kvm->check_extension(KVM_CAP_MAX_VCPUS), 1));
        const auto& asked = _request.configurations.front().machine;
        // What a shape, a plan file or a traffic matrix has is not asked for again.
        auto fixed = asked.vcpus;
        if (asked.shape)
            fixed = static_cast<std::uint32_t>(topology::vcpu_count(*asked.shape));
        auto counts = !_request.vcpus.empty() ? parse_vcpu_counts(_request.vcpus, most)
                      : fixed                 ? Result<std::vector<std::uint32_t>>{{*fixed}}
                                              : default_vcpu_counts(most);
        if (!counts)
            return tl::unexpected{counts.error()};
        _counts = std::move(*counts);
        if (_observer.started)
            _observer.started(_result);
        return {};
    }

    [[nodiscard]] Axes axes(std::span<const StressDriver* const> drivers) const {
        return {drivers, _request.configurations.size(), _counts, _request.seed, _request.balanced};
    }

    void run_points() {
        const auto points = plan_sweep(axes(_request.drivers), _request.repeat);
        const auto weight = [&](const PlannedPoint& point) {
            return std::chrono::duration<double>(_request.duration).count() + overhead_seconds(point.vcpus);
        };
        double total = 0;
        for (const auto& point : points)
            total += weight(point);
        double done = 0;
        for (const auto& point : points) {
            if (!run_point(point, _request.duration,
                           [&](double part) { return (done + part * weight(point)) / total; }))
                return;
            done += weight(point);
        }
        if (points.empty())
            _result.error =
                Error{ErrorKind::bad_input, "sweep " + std::string{_request.drivers.front()->name},
                      fmt::format("it needs {} vCPUs or more", _request.drivers.front()->least_vcpus),
                      "ask for more with --vcpus"};
    }

    void run_mix() {
        const auto slot = mix_slot(_request.duration, _request.drivers.size());
        const auto left = [&] {
            return _request.duration -
                   std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - _start);
        };
        const auto fraction = [&](double) {
            return seconds_since(_start) / std::chrono::duration<double>(_request.duration).count();
        };
        auto drivers = _request.drivers;
        for (std::uint32_t round = 0; left() > 0ms; ++round) {
            const auto points = plan_mix_round(axes(drivers), round);
            if (points.empty())
                return;
            for (const auto& point : points)
                if (left() <= 0ms ||
                    !run_point(point, std::clamp(slot, 1ms, std::max(left(), 1ms)), fraction))
                    return;
            // Once is enough to say that there are no L2 guests here; and where nothing runs at all, nothing
            // will.
            if (_offer.extension == nested::Extension::none)
                std::erase_if(drivers, [](const auto* driver) { return driver->nested; });
            const auto this_round = std::span{_result.sweep->points}.last(points.size());
            if (std::ranges::all_of(this_round, [](const report::SweepPoint& point) {
                    return point.verdict == report::Verdict::skipped ||
                           point.verdict == report::Verdict::not_run;
                }))
                return;
        }
    }

    // False: the sweep is over.
    bool run_point(const PlannedPoint& planned, std::chrono::milliseconds duration,
                   const std::function<double(double)>& fraction) {
        const auto& configuration = _request.configurations[planned.configuration];
        report::SweepPoint point;
        point.driver = planned.driver->name;
        point.configuration = configuration.asked;
        point.vcpus = planned.vcpus;
        point.repetition = planned.repetition;
        point.seed = planned.seed;
        point.unit = planned.driver->unit;
        point.repeat = repeat_command(point, duration);
        double part = 0;
        const auto say = [&] {
            if (_observer.progress)
                _observer.progress(
                    {fmt::format("{}, {}", point.driver, vcpus_text(point.vcpus)), fraction(part)});
        };
        say();
        const auto ticker = _supervisor.every(500ms, say);
        const auto ran = run_driver(*planned.driver, configuration.machine, point, duration,
                                    [&](double now) { part = now; });
        if (!ran) {
            point.verdict = report::Verdict::not_run;
            point.reason = ran.error().message();
            if (!_result.error || ran.error().kind == ErrorKind::cancelled)
                _result.error = ran.error();
        }
        _result.sweep->points.push_back(std::move(point));
        _result.duration_s = seconds_since(_start);
        if (_observer.finished)
            _observer.finished(_result.sweep->points.back(), _result);
        if (!_supervisor.cancelled())
            return true;
        if (auto stopped = _supervisor.await([] { return true; }, Clock::now(), {}); !stopped)
            _result.error = stopped.error(); // which signal
        return false;
    }

    // Errors: what kept the driver from running at all.
    Status run_driver(const StressDriver& driver, const MachineRequest& asked, report::SweepPoint& point,
                      std::chrono::milliseconds duration, std::function<void(double)> progress) {
        if (driver.nested && _offer.extension == nested::Extension::none) {
            take_counted(point, skipped(fmt::format("{}; add --where lab", _offer.reason)));
            return {};
        }
        auto setup =
            set_up(machine_for(driver, asked, point.vcpus), {.host = _host, .kvm = kvm::Kvm::open()});
        if (!setup)
            return tl::unexpected{setup.error()};
        if (const auto& plan = setup->plan; !_result.machine || plan.vcpus.size() > _result.machine->vcpus) {
            _result.plan = plan;
            _result.machine = report::MachineFacts{static_cast<std::uint32_t>(plan.vcpus.size()), plan.shape,
                                                   plan.memory_bytes(), plan.page_size};
        }
        StressContext context{.setup = *setup,
                              .supervisor = _supervisor,
                              .machine = nullptr,
                              .seed = point.seed,
                              .duration = duration,
                              .deadline = _request.timeout.value_or(60s + point.vcpus * 150ms),
                              .progress = std::move(progress)};
        if (driver.machines == Machines::own) {
            const auto start = Clock::now();
            auto counted = driver.run(context);
            tell("work", start);
            return counted.map([&](Counted own) { take_counted(point, std::move(own)); });
        }
        return run_on_machine(driver, context, point);
    }

    // Of the point at hand, which is not among the results yet. Returns the time of its end.
    Clock::time_point tell(std::string_view phase, Clock::time_point start) {
        const auto end = Clock::now();
        if (_observer.phase)
            _observer.phase({static_cast<std::uint32_t>(_result.sweep->points.size()), phase, start, end});
        return end;
    }

    // All vCPUs together keep so many exits, and one of them no more than it takes to see a pattern.
    [[nodiscard]] machine::Recording recording(std::uint32_t vcpus) const {
        constexpr std::size_t most = 1U << 19;
        constexpr std::size_t most_each = 1U << 13;
        return {.statistics = _observer.sampled && _request.sample > 0ms,
                .exits = _request.record_exits ? std::min(most / std::max(vcpus, 1U), most_each) : 0,
                .tsc = _request.record_ipis};
    }

    void tell_sample(const machine::MachineStatistics& statistics) {
        if (_observer.sampled)
            _observer.sampled(
                {static_cast<std::uint32_t>(_result.sweep->points.size()), Clock::now(), statistics});
    }

    void tell_exits(const machine::Chassis& chassis) {
        if (!_request.record_exits || !_observer.exits)
            return;
        SweepExits exits{static_cast<std::uint32_t>(_result.sweep->points.size()), {}};
        for (const auto& thread : chassis.threads())
            exits.vcpus.push_back(thread->recorded_exits());
        _observer.exits(exits);
    }

    void tell_ipis(const machine::Machine& machine, const IpiRings& rings) {
        const auto clock = machine.chassis().tsc_clock();
        if (rings.address == 0 || !clock || !_observer.ipis)
            return;
        const auto kept = read_ipi_rings(machine.memory(), rings);
        auto ipis = timed(kept.ipis, *clock);
        const auto left_out = kept.wrong + kept.ipis.size() - ipis.size();
        _observer.ipis({static_cast<std::uint32_t>(_result.sweep->points.size()), std::move(ipis), left_out});
    }

    Status run_on_machine(const StressDriver& driver, StressContext& context, report::SweepPoint& point) {
        auto start = Clock::now();
        auto machine = machine::Machine::create(context.setup.kvm,
                                                {.plan = context.setup.plan,
                                                 .payload = &context.setup.payload,
                                                 .nested = context.setup.shown.nested,
                                                 .hidden = context.setup.shown.hidden,
                                                 .memory = driver.memory,
                                                 .recording = recording(point.vcpus)},
                                                _supervisor);
        if (!machine)
            return tl::unexpected{machine.error()};
        start = tell("create", start);
        context.machine = machine->get();
        IpiRings rings;
        context.ipi_rings = _request.record_ipis ? &rings : nullptr;
        std::unique_ptr<supervise::Supervisor::Ticker> sampler;
        if (_observer.sampled && _request.sample > 0ms)
            sampler = _supervisor.every(_request.sample, [&, chassis = &(*machine)->chassis()] {
                tell_sample(chassis->statistics_now());
            });
        const auto booted = (*machine)->boot(context.deadline);
        start = tell("boot", start);
        auto counted = booted.and_then([&] { return driver.run(context); });
        if (booted)
            start = tell("work", start);
        if (!counted && !is_death(counted.error()))
            return tl::unexpected{counted.error()};
        take_counted(point, counted ? std::move(*counted) : died(**machine, counted.error()));
        sampler.reset();
        // One whose threads do not leave the kernel is no reason to end: its verdict says so, and it is kept.
        if (auto stopped = (*machine)->stop(); !stopped) {
            point.verdict = report::Verdict::hang;
            point.details.push_back(stopped.error().message());
            return {};
        }
        tell("end", start);
        const auto statistics = (*machine)->chassis().statistics();
        tell_sample(statistics);
        tell_exits((*machine)->chassis());
        tell_ipis(**machine, rings);
        for (const auto& [name, statistic] : kvm_statistics(statistics).vcpu)
            if (statistic.unit.empty() || statistic.unit == "ns") {
                auto& sum = point.kvm_stats[name];
                for (const auto value : statistic.values)
                    sum += value;
            }
        return {};
    }

    const SweepRequest& _request;
    supervise::Supervisor& _supervisor;
    const SweepObserver& _observer;
    report::RunResult _result;
    Clock::time_point _start = Clock::now();
    Result<topology::Host> _host = topology::Host{};
    nested::Offer _offer;
    std::vector<std::uint32_t> _counts;
};

} // namespace

report::RunResult sweep(const SweepRequest& request, supervise::Supervisor& supervisor,
                        const SweepObserver& observer) {
    return Run{request, supervisor, observer}.go();
}

report::Outcome outcome_of(const report::Sweep& sweep, const std::optional<Error>& error) {
    if (error && error->kind == ErrorKind::cancelled)
        return report::Outcome::cancelled;
    const auto spoils = [](const report::SweepPoint& point) {
        return point.verdict != report::Verdict::not_run && report::is_bad(point.verdict);
    };
    if (std::ranges::any_of(sweep.points, spoils))
        return report::Outcome::failed;
    return error ? report::outcome_of(error->kind) : report::Outcome::passed;
}

std::string repeat_command(const report::SweepPoint& point, std::chrono::milliseconds duration) {
    const auto& asked = point.configuration;
    const report::Configuration usual{"numa", "4K", "auto", ""};
    auto command = fmt::format("nestbed stress run {} --vcpus {} --seed {} --duration {}", point.driver,
                               point.vcpus, point.seed, std::chrono::duration<double>(duration).count());
    const auto add = [&](std::string_view option, const std::string& value, const std::string& otherwise) {
        if (!value.empty() && value != otherwise)
            command += fmt::format(" {} {}", option, quoted(value));
    };
    add("--policy", asked.policy, usual.policy);
    add("--pages", asked.page_size, usual.page_size);
    add("--nested", asked.nested, usual.nested);
    add("--topology", asked.topology, usual.topology);
    return command;
}

} // namespace nestbed::stress
