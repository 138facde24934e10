// A run of the conformance suite in emulated machines, from a host that has no nested virtualization.
#pragma once

#include <functional>
#include <string>

#include "core/supervise/supervisor.hpp"
#include "lab/lab.hpp"
#include "nested/conform/conform.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

struct LabObserver {
    ConformObserver conform;
    std::function<void(const std::string& what)> progress; // what the lab is at while no test runs
};

// As conform_here(), in one emulated machine after another: a test that takes the emulated host down with it
// twice has crashed, and a new machine goes on with the next. Kernel, program and the like of `machine` are
// used, its arguments, shape and timeout are not.
[[nodiscard]] report::RunResult conform_in_lab(const ConformRequest& request, const lab::LabRequest& machine,
                                               supervise::Supervisor& supervisor,
                                               const LabObserver& observer);

} // namespace nestbed::conform
