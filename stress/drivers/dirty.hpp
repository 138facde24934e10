// The judgement of the drivers "dirty.ring" and "dirty.log". Values only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nestbed::stress {

// What both sides have at the end.
struct DirtyEvidence {
    std::span<const std::byte> arena; // as the guest left it: whole pages
    std::span<const std::byte> copy;  // of the pages that KVM named, each read after it was named
    std::span<const std::uint64_t>
        written; // of the vCPUs' own pages: the last stamp stored there, 0 for none
    std::span<const std::uint8_t> collected; // of each page of the arena: 1 where KVM ever named it
    std::uint64_t pages_each = 0;            // of each vCPU
    std::uint64_t shared_adds = 0;           // additions to the pages after the vCPUs' own
};

// A line for each page that KVM lost: not named at all, or not after its last write, so that the copy
// differs; and for each whose content is not what the guest says it wrote.
[[nodiscard]] std::vector<std::string> judge_dirty(const DirtyEvidence& evidence);

} // namespace nestbed::stress
