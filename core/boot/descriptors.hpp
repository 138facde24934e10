// GDT, IDT and TSS of one vCPU, as the bytes of its block (core/wire/layout.hpp).
//
// The host writes them, not the guest: 256 gates a vCPU are nothing here and a third of a second there, on a
// host that interprets ring 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/wire/layout.hpp"

namespace nestbed::boot {

// Pages 1 and 2 of a block: the IDT, then GDT, TSS and the two pseudo-descriptors.
using DescriptorPages = std::array<std::byte, 2 * wire::page_bytes>;

// `block` is the GPA of the vCPU's block; vector N is handled at stubs + N * stride. Gates are 64-bit
// interrupt gates (SDM volume 3, 6.14.1), NMI on IST 1, #DF on IST 2, wire::user_return_vector callable from
// ring 3.
[[nodiscard]] DescriptorPages descriptor_pages(std::uint64_t block, std::uint64_t stubs,
                                               std::uint32_t stride);

} // namespace nestbed::boot
