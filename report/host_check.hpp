// What a host can do, judged against what a guest of many vCPUs needs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "nested/offer.hpp"
#include "report/run_result.hpp"

namespace nestbed::report {

enum class Level {
    ok,
    falls_short, // works, but not all of what was asked
    missing,     // without it no guest runs at all, whatever its size
};

[[nodiscard]] std::string_view to_string(Level level); // "ok", "short", "missing"

// Who needs what a finding is about.
enum class NeededBy {
    every_guest, // a guest of that many vCPUs cannot run while this is not ok
    an_option,   // only what is asked for on purpose: huge pages, nested guests, or a good placement
};

struct HostFinding {
    std::string name; // stable, for people and scripts: "open files"
    Level level = Level::ok;
    NeededBy needed_by = NeededBy::every_guest;
    std::string asked;
    std::string found;
    // One command that mends it, or what to do instead where none can; empty where all is well.
    std::string remedy;
};

// What is known of the host. `kvm_error` is why /dev/kvm cannot be used; empty where it can.
struct HostState {
    HostFacts facts;
    std::optional<Error> kvm_error;
    nested::Offer nested;
};

// What a guest needs of the host, said by those who make it. Both grow with every vCPU.
struct GuestNeeds {
    std::uint64_t (*memory_bytes)(std::uint32_t vcpus); // the guest's own
    std::uint64_t (*open_files)(std::uint32_t vcpus);
    std::uint64_t (*threads)(std::uint64_t vcpus);
};

// One finding for each thing, in the order in which people look for causes. What is not known (a limit that
// cannot be read) has no finding, but a topology or a KVM that is not there has one.
[[nodiscard]] std::vector<HostFinding> judge_host(const HostState& state, const GuestNeeds& needs,
                                                  std::uint32_t vcpus);

// Whether a guest of the vCPUs that were judged runs.
[[nodiscard]] bool all_vcpus_run(std::span<const HostFinding> findings);

// Whether any guest runs.
[[nodiscard]] bool any_guest_runs(std::span<const HostFinding> findings);

// "288 vCPUs: yes; 1024 vCPUs: no (max vCPUs); nested: SVM".
[[nodiscard]] std::string conclude(const HostState& state, const GuestNeeds& needs,
                                   std::span<const std::uint32_t> vcpu_counts);

} // namespace nestbed::report
