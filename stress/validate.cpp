#include "stress/validate.hpp"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include "base/units.hpp"
#include "core/boot/placement.hpp"
#include "core/machine/machine.hpp"
#include "report/host_facts.hpp"
#include "stress/checks.hpp"
#include "stress/payload.hpp"

namespace nestbed::stress {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;

constexpr std::string_view teardown_name = "machine.teardown";
constexpr std::string_view teardown_title = "Every thread and descriptor of the machine is gone after it";

// A machine that dies in one check is replaced for the next; a host on which they keep dying is not worth the
// wait.
constexpr unsigned most_machines = 4;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::size_t entries_of(const char* directory) {
    std::error_code error;
    const std::filesystem::directory_iterator entries{directory, error};
    return error ? 0 : static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

struct Footprint {
    std::size_t threads = entries_of("/proc/self/task");
    std::size_t descriptors = entries_of("/proc/self/fd");
};

bool selected(const std::vector<std::string>& patterns, std::string_view name) {
    return patterns.empty() || std::ranges::any_of(patterns, [&](const std::string& pattern) {
               return ::fnmatch(pattern.c_str(), std::string{name}.c_str(), 0) == 0;
           });
}

Status check_patterns(const std::vector<std::string>& patterns) {
    std::vector<std::string_view> names{teardown_name};
    for (const auto& check : all_checks())
        names.push_back(check.name);
    for (const auto& pattern : patterns)
        if (std::ranges::none_of(names, [&](std::string_view name) { return selected({pattern}, name); }))
            return fail(ErrorKind::bad_input, fmt::format("run the checks \"{}\"", pattern),
                        "no check has such a name", fmt::format("there are: {}", fmt::join(names, ", ")));
    return {};
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
        // What is known of the host is worth having even where the rest fails.
        auto host = topology::discover("auto");
        auto kvm = kvm::Kvm::open();
        _result.host = report::gather_host_facts(host ? &*host : nullptr, kvm ? &*kvm : nullptr);
        if (!host)
            return tl::unexpected{host.error()};
        if (!kvm)
            return tl::unexpected{kvm.error()};
        _kvm.emplace(std::move(*kvm));
        phase("discover");

        auto payload = embedded_payload();
        if (!payload)
            return tl::unexpected{payload.error()};
        _payload = std::move(*payload);
        const auto vcpus = choose_vcpus();
        auto plan =
            topology::plan({.vcpus = vcpus,
                            .memory_bytes = _request.memory_bytes.value_or(boot::default_memory_bytes(vcpus)),
                            .policy = _request.policy,
                            .page_size = _request.page_size,
                            .shape = _request.shape},
                           *host);
        if (!plan)
            return tl::unexpected{plan.error()};
        phase("plan");
        _result.machine = report::MachineFacts{vcpus, plan->shape, plan->memory_bytes(), plan->page_size};
        _result.plan = std::move(*plan);
        if (_observer.planned)
            _observer.planned(_result);
        return {};
    }

    [[nodiscard]] std::uint32_t choose_vcpus() const {
        const auto most = static_cast<std::uint32_t>(_kvm->check_extension(KVM_CAP_MAX_VCPUS));
        if (_request.all_vcpus)
            return most;
        if (_request.vcpus)
            return *_request.vcpus;
        if (_request.shape)
            return static_cast<std::uint32_t>(topology::vcpu_count(*_request.shape));
        return std::min(default_vcpus, most);
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
    }

    void run_check(const Check& check) {
        const auto start = Clock::now();
        auto result = blank(check.name, check.title);
        auto finding = ensure_machine().and_then([&] {
            return check.run({*_machine, _request.seed, deadline()});
        });
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
        if (!_before)
            _before.emplace();
        auto machine = machine::Machine::create(
            *_kvm, {.plan = *_result.plan, .payload = &_payload, .nested = true}, _supervisor);
        if (!machine)
            return tl::unexpected{machine.error()};
        _machine = std::move(*machine);
        auto online = _machine->boot(deadline());
        if (_machines == 1)
            for (const auto& [name, seconds] : _machine->phase_times())
                _result.timings.push_back({name, seconds});
        _booted_once = _booted_once || online.has_value();
        return online;
    }

    void tear_down() {
        const auto start = Clock::now();
        auto result = blank(teardown_name, teardown_title);
        const auto stopped = _machine ? _machine->stop() : Status{};
        if (_machine)
            keep_statistics();
        _machine.reset();
        if (!selected(_request.only, teardown_name))
            return;
        Footprint after;
        const auto before = _before.value_or(after);
        // The kernel takes a moment to forget a thread that has been joined.
        for (int i = 0; i < 200 && (after.threads > before.threads || after.descriptors > before.descriptors);
             ++i) {
            std::this_thread::sleep_for(10ms);
            after = {};
        }
        result.verdict = stopped && after.threads <= before.threads && after.descriptors <= before.descriptors
                             ? report::Verdict::pass
                             : report::Verdict::fail;
        result.summary =
            stopped ? fmt::format("{} threads and {} descriptors before, {} and {} after", before.threads,
                                  before.descriptors, after.threads, after.descriptors)
                    : stopped.error().message();
        result.seconds = seconds_since(start);
        publish(std::move(result));
    }

    void keep_statistics() {
        const auto read = _machine->statistics();
        report::KvmStatistics kept;
        for (const auto& entry : read.entries) {
            auto& column = kept.vcpu[entry.name];
            column.unit = entry.unit;
            for (const auto& words : read.vcpus)
                column.values.push_back(kvm::value_of(entry, words));
        }
        for (const auto& entry : read.vm_entries)
            kept.vm[entry.name] = {entry.unit, kvm::value_of(entry, read.vm)};
        _result.kvm_stats = std::move(kept);
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
        result.repeat = repeat_command(name);
        return result;
    }

    [[nodiscard]] std::string repeat_command(std::string_view name) const {
        auto command = fmt::format("nestbed validate --only {} --policy {} --seed {}", name,
                                   topology::to_string(_request.policy), _request.seed);
        if (_result.machine)
            command += fmt::format(" --vcpus {} --memory {}M", _result.machine->vcpus,
                                   round_up(_result.machine->memory_bytes, MiB) / MiB);
        if (_request.shape)
            command += fmt::format(" --topology {}", topology::format_shape(*_request.shape));
        if (_request.page_size != topology::PageSize::base)
            command += fmt::format(" --hugepages {}", topology::to_string(_request.page_size));
        return command;
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
    std::optional<kvm::Kvm> _kvm;
    boot::Payload _payload;
    machine::MachinePtr _machine;
    std::optional<Footprint> _before;
    unsigned _machines = 0;
    bool _booted_once = false;
    std::string _now{"start"};
    double _weight_now = 0;
};

} // namespace

report::RunResult validate(const ValidateRequest& request, supervise::Supervisor& supervisor,
                           const Observer& observer) {
    return Run{request, supervisor, observer}.go();
}

} // namespace nestbed::stress
