// A run of the conformance suite in emulated machines, from a host that has no nested virtualization.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/supervise/supervisor.hpp"
#include "lab/lab.hpp"
#include "nested/conform/conform.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

struct LabObserver {
    ConformObserver conform;
    std::function<void(const std::string& what)> progress; // what the lab is at while no test runs
};

// How many emulated machines share a run: `jobs`, or without it as many as there are processors and memory
// for and tests that are worth a boot. `available_memory` in bytes.
[[nodiscard]] std::size_t machines_for(std::size_t cases, std::uint32_t jobs, std::size_t processors,
                                       std::uint64_t available_memory);

// What one emulated machine is to run, whose silicon it has for that, and what its CPU has beyond the usual,
// as in lab::Shape::cpu_flags.
struct Share {
    lab::Silicon silicon = lab::Silicon::amd;
    std::string more_flags = {};
    std::vector<const Case*> tests = {};
};

// One for each of `machines`, of which there is one at the least, and one more for tests that need more of
// the CPU; for tests of VMX fewer, since their machines take long to boot, and first, since these take
// longest. None is empty. Every n-th test to the same, so that a slow group is shared.
[[nodiscard]] std::vector<Share> shares_of(const std::vector<Case>& cases, std::size_t machines);

// As conform_here(), in emulated machines with one CPU and a share of the tests each: a test that takes the
// emulated host down with it twice has crashed, and a new machine goes on with the next. Kernel, program and
// the like of `machine` are used, its arguments, shape and timeout are not.
[[nodiscard]] report::RunResult conform_in_lab(const ConformRequest& request, const lab::LabRequest& machine,
                                               supervise::Supervisor& supervisor,
                                               const LabObserver& observer);

} // namespace nestbed::conform
