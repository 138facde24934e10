// The part of the host check that is about KVM.
#pragma once

#include <cstdint>
#include <vector>

#include "report/host_check.hpp"

namespace nestbed::report {

// /dev/kvm itself and its vendor module; where it is usable, its limits and the capabilities that every
// machine needs as well.
[[nodiscard]] std::vector<HostFinding> judge_kvm(const HostState& state, std::uint32_t vcpus);

} // namespace nestbed::report
