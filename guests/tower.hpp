// `nestbed tower`: guests in guests. Level 1 is Linux with nestbed in it, which nestbed boots; the last level
// is nestbed's own payload; in a tower of three, level 2 is once more Linux with nestbed in it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/supervise/supervisor.hpp"
#include "guests/tower_levels.hpp"
#include "lab/kernel.hpp"
#include "report/run_result.hpp"

namespace nestbed::guests {

struct TowerRequest {
    unsigned levels = fewest_levels;             // to most_levels
    std::uint32_t vcpus = 2;                     // of each guest
    std::optional<lab::KernelFiles> kernel = {}; // of the Linux levels; without it: see lab::find_kernel()
    std::chrono::milliseconds timeout = std::chrono::minutes{15}; // of all of it
    std::filesystem::path directory; // absolute; level 1's document goes to level-1/, that of what it runs to
                                     // inside/
};

// Called on the control thread.
struct TowerObserver {
    std::function<void(const std::string& what)> progress;
    std::function<void(std::string_view bytes)> inside; // what the command at level 1 prints
};

// Always returns what is known; the outcome says what went wrong. host_lacks where this host's KVM offers its
// guests neither SVM nor VMX.
[[nodiscard]] report::RunResult build_tower(const TowerRequest& request, supervise::Supervisor& supervisor,
                                            const TowerObserver& observer);

} // namespace nestbed::guests
