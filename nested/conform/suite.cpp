#include "nested/conform/suite.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <boost/fiber/fiber.hpp>

#include "nested/conform/case_run.hpp"

namespace nestbed::conform {

std::uint32_t default_jobs(const topology::Host& host) {
    return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(topology::allowed_pus(host).size() / 2));
}

topology::Host slice(const topology::Host& host, std::uint32_t job, std::uint32_t jobs) {
    const auto usable = topology::allowed_pus(host);
    auto part = host;
    if (usable.size() < jobs) {
        for (std::size_t i = 0; i < usable.size(); ++i)
            part.pus[usable[i]].allowed = i == job % usable.size();
        return part;
    }
    // Neighbours share caches and nodes, and a job's vCPUs talk to each other.
    const auto first = usable.size() * job / jobs;
    const auto end = usable.size() * (job + 1) / jobs;
    for (std::size_t i = 0; i < usable.size(); ++i)
        part.pus[usable[i]].allowed = i >= first && i < end;
    return part;
}

Status run_suite(const SuiteRun& run, std::span<const Case> cases, const SuiteObserver& observer) {
    const auto wanted = run.jobs != 0 ? run.jobs : default_jobs(run.host);
    const auto jobs = static_cast<std::uint32_t>(
        std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(cases.size(), 1)));
    std::size_t next = 0;
    std::optional<Error> ended;
    const auto work = [&](std::uint32_t job) {
        const auto part = slice(run.host, job, jobs);
        while (next < cases.size() && !ended) {
            const auto& test = cases[next++];
            if (observer.started)
                observer.started(test);
            auto result =
                run_case({run.kvm, run.payloads.of(test.name), part, run.supervisor, run.timeout}, test);
            if (!result) {
                if (!ended)
                    ended = result.error();
                return;
            }
            observer.finished(*result);
        }
    };
    std::vector<boost::fibers::fiber> fibers;
    for (std::uint32_t job = 0; job < jobs; ++job)
        fibers.emplace_back([&work, job] { work(job); });
    for (auto& fiber : fibers)
        fiber.join();
    if (ended)
        return tl::unexpected{*ended};
    return {};
}

} // namespace nestbed::conform
