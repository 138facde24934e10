// One conformance test on a machine of its own.
#pragma once

#include <chrono>

#include "base/error.hpp"
#include "core/boot/payload.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "nested/conform/catalog.hpp"
#include "report/run_result.hpp"
#include "topology/host.hpp"

namespace nestbed::conform {

struct CaseRun {
    const kvm::Kvm& kvm;
    const boot::Payload& payload;
    const topology::Host& host; // its allowed PUs are the ones that are used
    supervise::Supervisor& supervisor;
    std::chrono::milliseconds timeout; // from the start of the test to its verdict
};

// The verdict. Errors: cancelled, host_lacks, bad_input: what keeps every test from running.
[[nodiscard]] Result<report::CheckResult> run_case(const CaseRun& run, const Case& test);

} // namespace nestbed::conform
