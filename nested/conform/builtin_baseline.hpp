// What the lab's emulated silicon is known to get wrong: nested/svm/baseline/qemu-tcg.json, part of this
// program.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "nested/conform/baseline.hpp"

namespace nestbed::conform {

// `names` are those of the suite. Errors: as parse_baseline(), which a test keeps from happening.
[[nodiscard]] Result<Baseline> tcg_baseline(const std::vector<std::string>& names);

// Whether the processor that this program runs on is QEMU's TCG (CPUID leaf 0x40000000 says so), so that the
// same failures are expected inside an emulated machine and in front of it.
[[nodiscard]] bool runs_on_tcg();

// The same of the lab's Intel silicon: nested/vmx/baseline/bochs.json. Bochs passes for the processor that it
// emulates; it is the lab that says so to what it runs.
[[nodiscard]] Result<Baseline> bochs_baseline(const std::vector<std::string>& names);
[[nodiscard]] bool runs_on_bochs();

} // namespace nestbed::conform
