// Many tests, some at a time, each on its own machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "nested/conform/catalog.hpp"
#include "nested/conform/payload.hpp"
#include "report/run_result.hpp"
#include "topology/host.hpp"

namespace nestbed::conform {

inline constexpr std::chrono::seconds default_timeout{20};

struct SuiteRun {
    const kvm::Kvm& kvm;
    const Payloads& payloads;
    const topology::Host& host;
    supervise::Supervisor& supervisor;
    std::uint32_t jobs = 0;                              // tests at a time; 0: default_jobs()
    std::chrono::milliseconds timeout = default_timeout; // of each test
};

struct SuiteObserver {
    std::function<void(const Case&)> started;
    std::function<void(const report::CheckResult&)> finished; // in the order in which they end
};

// Two PUs for each test, so that tests of several vCPUs are not measured against themselves.
[[nodiscard]] std::uint32_t default_jobs(const topology::Host& host);

// The part of the host that job `job` of `jobs` uses: every job has PUs of its own as far as they go.
[[nodiscard]] topology::Host slice(const topology::Host& host, std::uint32_t job, std::uint32_t jobs);

// All results are told to the observer. Errors: what ended the run before the last test.
[[nodiscard]] Status run_suite(const SuiteRun& run, std::span<const Case> cases,
                               const SuiteObserver& observer);

} // namespace nestbed::conform
