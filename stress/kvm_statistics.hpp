// KVM's own counters in the form of the result document.
#pragma once

#include "core/machine/inspection.hpp"
#include "report/run_result.hpp"

namespace nestbed::stress {

[[nodiscard]] report::KvmStatistics kvm_statistics(const machine::MachineStatistics& read);

} // namespace nestbed::stress
