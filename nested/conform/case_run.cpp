#include "nested/conform/case_run.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/machine/machine.hpp"
#include "nested/conform/judge.hpp"
#include "nested/conform/kernel_log.hpp"
#include "nested/conform/place.hpp"
#include "nested/svm/features.hpp"
#include "nested/vmx/features.hpp"
#include "report/nested_offer.hpp"
#include "topology/plan.hpp"

namespace nestbed::conform {

namespace {

using nested::wire::Ending;
using nested::wire::Report;
using supervise::Clock;

// For page tables, reports and what a test with its VMCBs and nested page tables allocates.
constexpr std::uint64_t memory_base = 24 * MiB;
constexpr std::uint64_t memory_per_vcpu = 1 * MiB;
// Of a machine that comes up at all; what is judged has its own deadline.
constexpr std::chrono::seconds boot_patience{60};

Result<topology::Plan> plan_for(const CaseRun& run, const Case& test) {
    return topology::plan({.vcpus = test.vcpus,
                           .memory_bytes = memory_base + test.vcpus * memory_per_vcpu,
                           .policy = topology::Policy::numa,
                           .page_size = topology::PageSize::base,
                           .shape = {}},
                          run.host);
}

// What the guest is shown has all that the test needs, or which of it is missing.
std::vector<std::string> missing_features(const kvm::Kvm& kvm, const Case& test,
                                          const core::cpu::Table& cpuid) {
    if (extension_of(test.name) == "vmx")
        return !shows_vmx(cpuid)    ? std::vector<std::string>{"vmx"}
               : test.needs.empty() ? std::vector<std::string>{}
                                    : vmx::not_offered(report::vmx_capabilities(kvm), test.needs);
    std::vector<std::string> missing;
    const auto shown = svm::shown_features(cpuid);
    if (shown.empty())
        missing.emplace_back("svm");
    for (const auto& need : test.needs)
        if (std::ranges::find(shown, need) == shown.end())
            missing.push_back(need);
    return missing;
}

report::CheckResult not_applicable(const Case& test, std::string why) {
    report::CheckResult result;
    result.name = test.name;
    result.title = test.title;
    result.reference = test.reference;
    result.verdict = report::Verdict::not_applicable;
    result.reason = std::move(why);
    return result;
}

bool is_verdict(const Error& error) {
    return error.kind == ErrorKind::check_failed || error.kind == ErrorKind::deadline;
}

class OneRun {
public:
    OneRun(const CaseRun& run, const Case& test) : _run{run}, _test{test} {}

    Result<report::CheckResult> go() {
        auto plan = plan_for(_run, _test);
        if (!plan)
            return tl::unexpected{plan.error()};
        // A third of the time of a short test went into pages that it never touched.
        auto machine = machine::Machine::create(_run.kvm,
                                                {.plan = std::move(*plan),
                                                 .payload = &_run.payload,
                                                 .nested = true,
                                                 .memory = machine::Presence::on_touch},
                                                _run.supervisor);
        if (!machine)
            return tl::unexpected{machine.error()};
        _machine = std::move(*machine);
        if (const auto missing = missing_features(_run.kvm, _test, _machine->cpuid()); !missing.empty())
            return not_applicable(_test, fmt::format("KVM does not offer {}", fmt::join(missing, ", ")));
        if (auto online = _machine->boot(boot_patience); !online) {
            if (!is_verdict(online.error()))
                return tl::unexpected{online.error()};
            _outcome.error = online.error();
            _outcome.diagnosis = _machine->diagnose();
            return judge(_test, _outcome, {});
        }
        return run_job();
    }

private:
    Result<report::CheckResult> run_job() {
        const auto scratch = _machine->scratch();
        const auto at = round_up(scratch.address, alignof(Report));
        const auto lost = at - scratch.address;
        auto* const shared = scratch.bytes < lost || (scratch.bytes - lost) / sizeof(Report) < _test.vcpus
                                 ? nullptr
                                 : _machine->memory().object<Report>(at, _test.vcpus);
        if (shared == nullptr)
            return fail(ErrorKind::bad_input, "run " + _test.name, "no room for its reports");
        std::memset(static_cast<void*>(shared), 0, _test.vcpus * sizeof(Report));

        const auto until = Clock::now() + _run.timeout;
        auto done = _machine
                        ->start_job({.name = _test.name,
                                     .arguments = {at},
                                     .first_vcpu = 0,
                                     .end_vcpu = _test.vcpus,
                                     .deadline = _run.timeout})
                        .and_then([&] { return follow(shared, until); });
        if (!done && !is_verdict(done.error()))
            return tl::unexpected{done.error()};
        if (!done) {
            _outcome.error = done.error();
            _outcome.fatal_exit = _machine->fatal_exit();
            _outcome.diagnosis = _machine->diagnose();
        }
        // The guest has stopped where it died, and may still be writing where it did not: copies are judged.
        std::vector<Report> reports(_test.vcpus);
        for (std::uint32_t vcpu = 0; vcpu < _test.vcpus; ++vcpu)
            std::memcpy(static_cast<void*>(&reports[vcpu]), &shared[vcpu], sizeof(Report));
        return judge(_test, _outcome, reports);
    }

    Status follow(const Report* shared, Clock::time_point until) {
        const auto left = [&] {
            return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()),
                            std::chrono::milliseconds{1});
        };
        if (_test.ending != Ending::stopped)
            return _machine->await_job(left());
        auto ready = _machine->await_guest(
            [&] {
                return std::ranges::all_of(std::span{shared, _test.vcpus}, [](const Report& report) {
                    return __atomic_load_n(&report.ready, __ATOMIC_ACQUIRE) != 0;
                });
            },
            left(), fmt::format("run {} up to where it is to be stopped", _test.name));
        if (!ready)
            return ready;
        if (auto stopped = _machine->stop(); !stopped)
            return stopped;
        _outcome.stopped = true;
        return {};
    }

    const CaseRun& _run;
    const Case& _test;
    machine::MachinePtr _machine;
    Outcome _outcome;
};

} // namespace

Result<report::CheckResult> run_case(const CaseRun& run, const Case& test) {
    const auto start = Clock::now();
    auto kernel = KernelLog::from_now();
    auto result = OneRun{run, test}.go(); // the machine is gone with it
    if (result)
        add_complaints(*result, kernel.complaints());
    if (result)
        result->seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return result;
}

} // namespace nestbed::conform
