// Everything about this host that a result document keeps.
#pragma once

#include <filesystem>

#include "core/kvm/kvm.hpp"
#include "report/run_result.hpp"
#include "topology/host.hpp"

namespace nestbed::report {

// Null for what is not to be had: no topology, no capabilities then. `sysroot` is where proc/ and sys/ are;
// what cannot be read there stays empty, which is "not known". Limits are named as in limits.hpp.
[[nodiscard]] HostFacts gather_host_facts(const topology::Host* host, const kvm::Kvm* kvm,
                                          const std::filesystem::path& sysroot = "/");

} // namespace nestbed::report
