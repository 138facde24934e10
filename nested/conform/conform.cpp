#include "nested/conform/conform.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/kvm/kvm.hpp"
#include "nested/conform/payload.hpp"
#include "nested/offer.hpp"
#include "report/host_facts.hpp"
#include "topology/host.hpp"

namespace nestbed::conform {

namespace {

Status run_here(const ConformRequest& request, supervise::Supervisor& supervisor,
                const ConformObserver& observer, report::RunResult& run) {
    auto host = topology::discover("auto");
    auto kvm = kvm::Kvm::open();
    run.host = report::gather_host_facts(host ? &*host : nullptr, kvm ? &*kvm : nullptr);
    if (!host)
        return tl::unexpected{host.error()};
    if (!kvm)
        return tl::unexpected{kvm.error()};
    const auto both = payloads();
    if (!both)
        return tl::unexpected{both.error()};
    if (observer.began)
        observer.began(run);
    return run_suite({.kvm = *kvm,
                      .payloads = *both,
                      .host = *host,
                      .supervisor = supervisor,
                      .jobs = request.jobs,
                      .timeout = request.timeout},
                     request.cases,
                     {.started = observer.started, .finished = [&](report::CheckResult result) {
                          complete(request, result);
                          if (observer.finished)
                              observer.finished(result);
                          run.checks.push_back(std::move(result));
                      }});
}

} // namespace

report::RunResult blank_run() {
    report::RunResult run;
    run.kind = "conform";
    run.started_at = std::chrono::system_clock::now();
    return run;
}

void complete(const ConformRequest& request, report::CheckResult& result) {
    if (request.baseline)
        apply(*request.baseline, result);
    result.repeat = fmt::format("{} '{}'", request.command, result.name);
}

void finish(const ConformRequest& request, report::RunResult& run, const ConformObserver& observer) {
    for (const auto& test : request.cases) {
        if (std::ranges::any_of(run.checks, [&](const auto& check) { return check.name == test.name; }))
            continue;
        report::CheckResult result;
        result.name = test.name;
        result.title = test.title;
        result.reference = test.reference;
        result.verdict = report::Verdict::not_run;
        result.reason = run.error ? run.error->message() : "the run ended before it";
        complete(request, result);
        if (observer.finished)
            observer.finished(result);
        run.checks.push_back(std::move(result));
    }
    std::ranges::sort(run.checks, {}, &report::CheckResult::name);
    run.outcome = run.error ? report::outcome_of(run.error->kind) : report::outcome_of(run.checks);
    run.duration_s = std::chrono::duration<double>(std::chrono::system_clock::now() - run.started_at).count();
}

report::RunResult conform_here(const ConformRequest& request, supervise::Supervisor& supervisor,
                               const ConformObserver& observer) {
    auto run = blank_run();
    if (auto ran = run_here(request, supervisor, observer, run); !ran)
        run.error = ran.error();
    finish(request, run, observer);
    return run;
}

} // namespace nestbed::conform
