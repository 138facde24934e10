// The guest's TSC as a clock of the host. Values only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace nestbed::machine {

// What the guest's TSC was at a time of the host's.
struct TscSample {
    std::uint64_t tsc = 0;
    std::chrono::steady_clock::time_point time;
};

// Between two samples, of one vCPU; KVM keeps the TSCs of a machine's vCPUs equal.
class TscClock {
public:
    // Empty where the second is not later than the first by both clocks, as after a guest has written its
    // TSC.
    [[nodiscard]] static std::optional<TscClock> between(const TscSample& first, const TscSample& last);

    // When the guest's TSC had this value; empty where that was neither sample nor between them.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> time_of(std::uint64_t tsc) const;

private:
    TscClock(const TscSample& first, const TscSample& last) : _first{first}, _last{last} {}

    TscSample _first;
    TscSample _last;
};

} // namespace nestbed::machine
