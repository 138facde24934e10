#include "guests/tower.hpp"

#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.hpp"
#include "core/kvm/kvm.hpp"
#include "lab/lab.hpp"
#include "nested/offer.hpp"
#include "report/host_facts.hpp"
#include "report/nested_offer.hpp"
#include "stress/setup.hpp"
#include "topology/text_file.hpp"

namespace nestbed::guests {

namespace {

namespace fs = std::filesystem;
using supervise::Clock;

constexpr std::size_t largest_document = 64UL * MiB;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Null where there is none, or what is there is not JSON.
nlohmann::json read_document(const fs::path& path) {
    const auto text = topology::read_text_file(path.string(), largest_document);
    if (!text)
        return nullptr;
    auto document = nlohmann::json::parse(*text, nullptr, false);
    return document.is_object() ? document : nlohmann::json{nullptr};
}

class Tower {
public:
    Tower(const TowerRequest& request, supervise::Supervisor& supervisor, const TowerObserver& observer)
        : _request{request}, _supervisor{supervisor}, _observer{observer} {
        _run.kind = "tower";
        _run.started_at = std::chrono::system_clock::now();
    }

    report::RunResult build() {
        const auto silicon = look_at_host();
        if (!silicon)
            end_with(silicon.error());
        else
            run_level_1(*silicon);
        if (!_run.error)
            _run.outcome = report::outcome_of(_run.checks);
        _run.duration_s = seconds_since(_start);
        return std::move(_run);
    }

private:
    // Which of the two it has for level 1.
    Result<lab::Silicon> look_at_host() {
        const auto seen = stress::look_at_host();
        _run.host =
            report::gather_host_facts(seen.host ? &*seen.host : nullptr, seen.kvm ? &*seen.kvm : nullptr);
        const auto in_lab =
            fmt::format("have an emulated host for it: nestbed lab -- tower --levels {}", _request.levels);
        const auto asked = fmt::format("stand {} levels of guests on this host", _request.levels);
        if (!seen.kvm)
            return fail(ErrorKind::host_lacks, asked, seen.kvm.error().message(), in_lab);
        const auto offer = report::nested_offer(*seen.kvm);
        if (offer.extension == nested::Extension::none)
            return fail(ErrorKind::host_lacks, asked, offer.reason,
                        offer.remedy.empty() ? in_lab : offer.remedy + ", or " + in_lab);
        report::CheckResult check;
        check.name = "level0.nested";
        check.title = "KVM lets its guests be hypervisors";
        check.verdict = report::Verdict::pass;
        check.summary = fmt::format("{}: {}", nested::to_string(offer.extension), offer.reason);
        check.facts["extension"] = nested::to_string(offer.extension);
        _run.checks.push_back(std::move(check));
        return offer.extension == nested::Extension::vmx ? lab::Silicon::intel : lab::Silicon::amd;
    }

    void run_level_1(lab::Silicon silicon) {
        const auto machine_results = _request.directory / "level-1";
        const auto inside_results = _request.directory / "inside";
        const auto inside_document = inside_results / "run.json";
        std::error_code ignored; // of an earlier tower; where they cannot be removed they cannot be replaced
        for (const auto& stale : {machine_results / "run.json", inside_document})
            fs::remove(stale, ignored);

        lab::LabRequest level_1;
        level_1.arguments = command_at_level_1(
            _request.levels, _request.vcpus,
            static_cast<std::uint64_t>(
                std::chrono::duration_cast<std::chrono::seconds>(_request.timeout).count()),
            inside_results.string());
        level_1.shape = {.silicon = silicon,
                         .cpus = _request.vcpus,
                         .nodes = 1,
                         .memory_bytes = level_memory(1, _request.levels, _request.vcpus),
                         .engine = lab::Engine::kvm};
        level_1.kernel = _request.kernel;
        level_1.machine_results = machine_results;
        level_1.timeout = _request.timeout;
        level_1.attempts = 1;                     // that a level hangs is a result
        level_1.grace = std::chrono::seconds{30}; // the guest of an emulated host is slow to end, too
        const auto ran = lab::run(level_1,
                                  {.out = _observer.inside,
                                   .err = _observer.inside,
                                   .progress = _observer.progress,
                                   .again = [](const Error&) {}},
                                  _supervisor);
        judge_linux(ran);
        add_checks(read_document(machine_results / "run.json"), 0);
        if (!ran)
            return;
        const auto document = read_document(inside_document);
        _run.checks.push_back(
            judge_command(fmt::format("{}", fmt::join(level_1.arguments, " ")), 1, ran->exit_code, document));
        add_checks(document, 1);
        for (const auto& mishap : ran->mishaps)
            _run.checks.back().details.push_back(mishap.message());
    }

    void judge_linux(const Result<lab::LabResult>& ran) {
        report::CheckResult check;
        check.name = "level1.linux";
        check.title = "Linux comes up as level 1, has KVM, and lives until its command has ended";
        if (ran) {
            check.verdict = report::Verdict::pass;
            check.summary = fmt::format("Linux {} was up {:.1f} s after its start, and done after {:.1f} s",
                                        ran->kernel, ran->seconds_to_up, ran->seconds);
            check.facts["kernel"] = ran->kernel;
            check.facts["vcpus"] = _request.vcpus;
            check.seconds = ran->seconds;
            _run.timings.push_back({"level1.up", ran->seconds_to_up});
            _run.timings.push_back({"level1", ran->seconds});
        } else {
            end_with(ran.error());
            if (ran.error().kind != ErrorKind::check_failed && ran.error().kind != ErrorKind::deadline)
                return; // it says nothing of level 1
            check.verdict =
                ran.error().kind == ErrorKind::deadline ? report::Verdict::hang : report::Verdict::fail;
            check.summary = ran.error().message();
        }
        _run.checks.push_back(std::move(check));
    }

    void add_checks(const nlohmann::json& document, unsigned ran_at) {
        if (!document.is_object())
            return;
        auto checks = checks_of(document, ran_at);
        if (!checks)
            return end_with(checks.error());
        for (auto& check : *checks)
            _run.checks.push_back(std::move(check));
    }

    void end_with(const Error& error) {
        if (_run.error)
            return;
        _run.error = error;
        _run.outcome = report::outcome_of(error.kind);
    }

    const TowerRequest& _request;
    supervise::Supervisor& _supervisor;
    const TowerObserver& _observer;
    report::RunResult _run;
    const Clock::time_point _start = Clock::now();
};

} // namespace

report::RunResult build_tower(const TowerRequest& request, supervise::Supervisor& supervisor,
                              const TowerObserver& observer) {
    return Tower{request, supervisor, observer}.build();
}

} // namespace nestbed::guests
