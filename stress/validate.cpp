#include "stress/validate.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "report/host_facts.hpp"
#include "stress/checks.hpp"
#include "stress/footprint.hpp"
#include "stress/in_lab.hpp"
#include "stress/kvm_statistics.hpp"
#include "stress/selection.hpp"

namespace nestbed::stress {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

constexpr std::string_view teardown_title = "Every thread and descriptor of the machine is gone after it";

// A machine that dies in one check is replaced for the next; a host on which they keep dying is not worth the
// wait.
constexpr unsigned most_machines = 4;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string repeat_command(const ValidateRequest& request, std::string_view check,
                           const report::MachineFacts* machine) {
    const auto& asked = request.machine;
    auto command = fmt::format("nestbed validate --only {} --policy {} --seed {}", check,
                               topology::to_string(asked.policy), request.seed);
    if (machine != nullptr && asked.policy.kind != topology::Policy::file) // which has both
        command += fmt::format(" --vcpus {} --memory {}M", machine->vcpus,
                               round_up(machine->memory_bytes, MiB) / MiB);
    if (asked.shape)
        command += fmt::format(" --topology {}", topology::format_shape(*asked.shape));
    if (asked.flat_shape)
        command += " --topology flat";
    if (asked.lying_shape)
        command += " --topology lying";
    if (asked.page_size != topology::PageSize::base)
        command += fmt::format(" --hugepages {}", topology::to_string(asked.page_size));
    return command;
}

// One run, step by step. Every step that fails leaves its Error in the result and ends the run.
class Run {
public:
    Run(const ValidateRequest& request, supervise::Supervisor& supervisor, const Observer& observer)
        : _request{request}, _supervisor{supervisor}, _observer{observer} {
        _result.kind = "validate";
        _result.started_at = std::chrono::system_clock::now();
        _result.seed = request.seed;
    }

    report::RunResult go() {
        if (auto ready = prepare(); !ready)
            end_with(ready.error());
        else
            run_checks();
        not_run_rest();
        if (!_result.error)
            _result.outcome = report::outcome_of(_result.checks);
        _result.duration_s = seconds_since(_start);
        return std::move(_result);
    }

private:
    Status prepare() {
        if (auto known = check_patterns(_request.only); !known)
            return known;
        auto seen = look_at_host();
        // What is known of the host is worth having even where the rest fails.
        _result.host =
            report::gather_host_facts(seen.host ? &*seen.host : nullptr, seen.kvm ? &*seen.kvm : nullptr);
        phase("discover");
        auto setup = set_up(_request.machine, std::move(seen));
        if (!setup)
            return tl::unexpected{setup.error()};
        _setup.emplace(std::move(*setup));
        phase("plan");
        const auto& plan = _setup->plan;
        _result.machine = report::MachineFacts{static_cast<std::uint32_t>(plan.vcpus.size()), plan.shape,
                                               plan.memory_bytes(), plan.page_size};
        _result.plan = plan;
        if (_observer.planned)
            _observer.planned(_result);
        return {};
    }

    void run_checks() {
        std::vector<const Check*> chosen;
        for (const auto& check : all_checks())
            if (selected(_request.only, check.name))
                chosen.push_back(&check);
        double total = 1;
        for (const auto* const check : chosen)
            total += check->weight;

        double done = 0;
        const auto ticker = _supervisor.every(200ms, [&] {
            const auto part = _machine ? _machine->progress() : 0;
            if (_observer.progress)
                _observer.progress({_now, (done + part * _weight_now) / total});
        });
        for (const auto* const check : chosen) {
            _now = check->name;
            _weight_now = check->weight;
            run_check(*check);
            done += check->weight;
            if (_result.error)
                return;
        }
        tear_down();
        if (_for_lab)
            run_for_lab(std::move(*_for_lab));
    }

    [[nodiscard]] bool wants_lab() const {
        return _request.lab && _request.machine.nested.showing != nested::Showing::off;
    }

    // After the machine is gone: the emulated one wants the processors for itself.
    void run_for_lab(report::CheckResult result) {
        const auto start = Clock::now();
        _now = "the lab";
        check_in_lab(result, {.vcpus = _result.machine->vcpus, .seed = _request.seed}, _supervisor);
        result.seconds = seconds_since(start);
        publish(std::move(result));
    }

    void run_check(const Check& check) {
        const auto start = Clock::now();
        auto result = blank(check.name, check.title);
        auto finding = ensure_machine().and_then([&] {
            return check.run({*_machine, _request.seed, deadline()});
        });
        if (finding && !finding->skip.empty() && check.name == l2_check && wants_lab()) {
            _for_lab = std::move(result);
            return;
        }
        if (finding && !finding->skip.empty()) {
            result.verdict = report::Verdict::skipped;
            result.reason = finding->skip;
        } else if (finding) {
            result.verdict = finding->good ? report::Verdict::pass : report::Verdict::fail;
            result.summary = std::move(finding->summary);
            result.details = std::move(finding->details);
            result.measurements = std::move(finding->measurements);
            result.facts = std::move(finding->facts);
        } else {
            judge_error(result, finding.error());
        }
        result.seconds = seconds_since(start);
        publish(std::move(result));
    }

    // The machine did not survive, or was never there.
    void judge_error(report::CheckResult& result, const Error& error) {
        if (error.kind == ErrorKind::check_failed || error.kind == ErrorKind::deadline) {
            result.verdict = report::Verdict::fail;
            result.summary = error.message();
            if (_machine)
                result.details = _machine->diagnose();
            _machine.reset();
            if (!_booted_once || _machines >= most_machines)
                end_with(error);
            return;
        }
        result.verdict = report::Verdict::not_run;
        result.reason = error.message();
        end_with(error);
    }

    Status ensure_machine() {
        if (_machine)
            return {};
        ++_machines;
        if (!_before) {
            const auto before = footprint();
            if (!before)
                return tl::unexpected{before.error()};
            _before = *before;
        }
        auto machine = create_machine(*_setup, _supervisor);
        if (!machine)
            return tl::unexpected{machine.error()};
        _machine = std::move(*machine);
        auto online = _machine->boot(deadline());
        if (_machines == 1)
            for (const auto& [name, seconds] : _machine->chassis().phase_times())
                _result.timings.push_back({name, seconds});
        _booted_once = _booted_once || online.has_value();
        return online;
    }

    void tear_down() {
        const auto start = Clock::now();
        auto result = blank(teardown_name, teardown_title);
        const auto stopped = _machine ? _machine->stop() : Status{};
        if (_machine)
            _result.kvm_stats = kvm_statistics(_machine->chassis().statistics());
        _machine.reset();
        if (!selected(_request.only, teardown_name))
            return;
        judge_teardown(result, stopped);
        result.seconds = seconds_since(start);
        publish(std::move(result));
    }

    void judge_teardown(report::CheckResult& result, const Status& stopped) const {
        result.verdict = report::Verdict::fail;
        if (!stopped) {
            result.summary = stopped.error().message();
            return;
        }
        const auto before = _before ? Result<Footprint>{*_before} : footprint();
        const auto after = before ? settled_footprint(*before) : before;
        if (!after) {
            result.summary = after.error().message();
            return;
        }
        if (after->within(*before))
            result.verdict = report::Verdict::pass;
        result.summary = fmt::format("{} threads and {} descriptors before, {} and {} after", before->threads,
                                     before->descriptors, after->threads, after->descriptors);
    }

    void not_run_rest() {
        const auto add = [&](std::string_view name, std::string_view title) {
            if (!selected(_request.only, name) ||
                std::ranges::any_of(_result.checks, [&](const auto& check) { return check.name == name; }))
                return;
            auto result = blank(name, title);
            result.verdict = report::Verdict::not_run;
            result.reason = _result.error ? _result.error->message() : "the run ended before it";
            publish(std::move(result));
        };
        for (const auto& check : all_checks())
            add(check.name, check.title);
        add(teardown_name, teardown_title);
        _machine.reset();
    }

    [[nodiscard]] report::CheckResult blank(std::string_view name, std::string_view title) const {
        report::CheckResult result;
        result.name = name;
        result.title = title;
        result.repeat = repeat_command(_request, name, _result.machine ? &*_result.machine : nullptr);
        return result;
    }

    // Generous: a loaded host that overcommits a hundredfold is slow, not wrong.
    [[nodiscard]] std::chrono::milliseconds deadline() const {
        const auto vcpus = _result.machine ? _result.machine->vcpus : 1;
        return _request.timeout.value_or(60s + vcpus * 150ms);
    }

    void publish(report::CheckResult result) {
        if (_observer.checked)
            _observer.checked(result);
        _result.checks.push_back(std::move(result));
    }

    void phase(std::string name) {
        _result.timings.push_back({std::move(name), seconds_since(_phase_start)});
        _phase_start = Clock::now();
    }

    void end_with(const Error& error) {
        _result.error = error;
        _result.outcome = report::outcome_of(error.kind);
    }

    const ValidateRequest& _request;
    supervise::Supervisor& _supervisor;
    const Observer& _observer;
    report::RunResult _result;
    Clock::time_point _start = Clock::now();
    Clock::time_point _phase_start = _start;
    std::optional<Setup> _setup; // outlives the machine
    machine::MachinePtr _machine;
    std::optional<Footprint> _before;
    unsigned _machines = 0;
    bool _booted_once = false;
    std::string _now{"start"};
    double _weight_now = 0;
    std::optional<report::CheckResult> _for_lab;
};

} // namespace

report::RunResult validate(const ValidateRequest& request, supervise::Supervisor& supervisor,
                           const Observer& observer) {
    return Run{request, supervisor, observer}.go();
}

} // namespace nestbed::stress
