// The judgement of the drivers "irqfd" and "irqfd.direct". Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nestbed::stress {

// One vCPU's signals, counted wherever they come by.
struct IrqfdCounts {
    std::uint64_t sent = 0;                 // by the guest
    std::optional<std::uint64_t> signalled; // what the ioeventfd said; empty where KVM passes it on itself
    std::optional<std::uint64_t> raised;    // on the irqfd, by the host; the same
    std::uint64_t received = 0;             // interrupts in the guest, each for a write that waited
    std::uint64_t unasked = 0;              // for none
};

// A line for each vCPU whose counts differ, or are all 0, or that got an interrupt too many.
[[nodiscard]] std::vector<std::string> judge_irqfd(std::span<const IrqfdCounts> counts);

} // namespace nestbed::stress
