// A run of the conformance suite on this host, from the choice of tests to the result document.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/supervise/supervisor.hpp"
#include "nested/conform/baseline.hpp"
#include "nested/conform/catalog.hpp"
#include "nested/conform/suite.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

struct ConformRequest {
    std::vector<Case> cases;
    std::uint32_t jobs = 0;
    std::chrono::milliseconds timeout = default_timeout;
    std::optional<Baseline> baseline;
    std::string command; // that runs tests there, for the one that repeats a test: its name is to follow
};

struct ConformObserver {
    std::function<void(const report::RunResult&)> began; // the host is known
    std::function<void(const Case&)> started;
    std::function<void(const report::CheckResult&)> finished;
};

// Always returns what is known, whatever went wrong; tests that did not run say so.
[[nodiscard]] report::RunResult conform_here(const ConformRequest& request, supervise::Supervisor& supervisor,
                                             const ConformObserver& observer);

// A run before its first test: kind, start, nothing else.
[[nodiscard]] report::RunResult blank_run();

// What is the same wherever a test ran: whether it is known, and how it is repeated.
void complete(const ConformRequest& request, report::CheckResult& result);

// Adds the tests that have no result as not run, and decides the outcome.
void finish(const ConformRequest& request, report::RunResult& run, const ConformObserver& observer);

} // namespace nestbed::conform
