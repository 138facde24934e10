// Where a topology comes from: this host, a synthetic description or a file. The only code that loads hwloc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <hwloc.h>

#include "base/error.hpp"

namespace nestbed::topology {

struct HwlocDelete {
    void operator()(hwloc_topology* topology) const noexcept { hwloc_topology_destroy(topology); }
};
using HwlocTopology = std::unique_ptr<hwloc_topology, HwlocDelete>;

struct LoadedTopology {
    HwlocTopology topology; // disallowed PUs and nodes are in it, offline ones are not
    std::string xml;        // empty for a synthetic description
    bool is_this_host = false;
    // False for a synthetic description without a "memory=": the sizes there are hwloc's invention.
    bool memory_is_known = true;
};

// hwloc's insertion is more than quadratic in the PUs of a level: 4096 take 0.1 s, 16384 take 6 s, 65536 take
// 5 minutes and 1.3 GiB. Linux on x86-64 ends at 8192.
inline constexpr std::uint64_t max_host_pus = 16384;

// The process's cpuset and the affinity of the calling thread decide what is allowed. Errors: host_lacks.
[[nodiscard]] Result<LoadedTopology> load_this_host();

// Errors: bad_input for text that hwloc does not understand and for more than max_host_pus.
[[nodiscard]] Result<LoadedTopology> load_synthetic(std::string_view description);

// Errors: bad_input with errno, or for text that is no topology of this hwloc, or for more than max_host_pus.
// Loads it in a child process first, since hwloc crashes on some damaged files.
[[nodiscard]] Result<LoadedTopology> load_xml_file(std::string_view path);

} // namespace nestbed::topology
