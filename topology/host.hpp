// What is known of a host: its processing units, caches and memory, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::topology {

// One hardware thread. Indexes other than os_index are positions in hwloc's logical order, dense from 0
// over the whole host, so that two PUs share a core exactly when their `core` is equal.
struct Pu {
    std::uint32_t os_index = 0;
    std::uint32_t core = 0;
    std::uint32_t llc = 0; // last-level cache group
    std::uint32_t package = 0;
    // Index into Host::nodes of the nearest node with memory, ordinary DRAM before any other kind; empty on a
    // host that has none such.
    std::optional<std::uint32_t> node;
    // False where the PU is outside this process's cpuset or disallowed by an administrator. Offline PUs are
    // not listed at all.
    bool allowed = true;
    // Kept from the scheduler's balancing (isolcpus= on the kernel's command line, "isolated" partitions of
    // cpusets). A thread that may run on several such PUs stays on one; pinned to one it is all the same.
    bool isolated = false;
};

// Size in bytes of the page and how many of them the node has.
struct HugePagePool {
    std::uint64_t page_bytes = 0;
    std::uint64_t total = 0;
    std::uint64_t free = 0;
};

struct Node {
    std::uint32_t os_index = 0;
    std::uint64_t memory_bytes = 0; // 0: no memory; of all nodes: the source tells no sizes
    // What can be had now, file cache included; of this host only, elsewhere equal to memory_bytes.
    std::uint64_t free_bytes = 0;
    bool allowed = true; // false: outside the process's mems_allowed
    bool has_pus = true; // false: no PU has it as its node (CXL, HBM beside DRAM, no memory, ...)
    std::vector<HugePagePool> huge_pages;
};

struct Host {
    std::string source; // "this host", the synthetic string or the file's name
    bool is_this_host = false;
    std::vector<Pu> pus;     // in hwloc's logical order: neighbours share caches
    std::vector<Node> nodes; // in hwloc's logical order
    // SLIT distances, row = from, column = to, indexed like `nodes`; 10 is local (ACPI 6.5, 5.2.17). Where
    // the host tells none: 10 on the diagonal, 20 elsewhere.
    std::vector<std::vector<std::uint32_t>> distances;
    std::vector<std::uint32_t> offline_pus; // os indexes, ascending
    std::uint32_t packages = 0;
    std::uint32_t cores = 0;
    std::uint32_t llcs = 0;
    // In hwloc's format, which discover() reads back from a file; empty for a synthetic description, whose
    // `source` says it all (exporting 4096 PUs takes longer than loading them).
    std::string xml;
};

// `source` is "auto" (this host, respecting the process's cpuset, the calling thread's affinity and
// mems_allowed: ask before pinning), a synthetic description in hwloc's syntax
// ("pack:8 [numa(memory=512GB)] l3:4 core:16 pu:2"; sizes are unknown where it does not say "memory="), or
// the path of an hwloc XML file (recognised by ".xml", by a slash, or by naming an existing file). Not while
// other threads read the environment: hwloc is kept from stderr through it. Errors: bad_input for a source
// that is none of these, is damaged, or has more than 16384 PUs or 1024 nodes; host_lacks where hwloc fails
// here.
[[nodiscard]] Result<Host> discover(std::string_view source);

// Indexes into host.pus of the PUs that may be used, in logical order.
[[nodiscard]] std::vector<std::uint32_t> allowed_pus(const Host& host);

} // namespace nestbed::topology
