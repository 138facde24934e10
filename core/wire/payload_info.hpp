// What a payload image says of itself, in ELF sections that the host reads. Compiles freestanding.
#pragma once

#include <cstdint>

#include "core/wire/layout.hpp"

namespace nestbed::wire {

inline constexpr std::uint64_t payload_magic = 0x444c'5941'5042'4e00; // "\0NBPAYLD", little-endian

// Section .nestbed.info.
struct PayloadInfo {
    std::uint64_t magic;
    std::uint32_t version; // wire::version
    std::uint32_t vector_stub_stride;
    std::uint64_t vector_stubs; // address of the handler of vector 0; the others follow at the stride
    std::uint64_t entry64;      // where a vCPU starts in 64-bit mode, with no stack
};

// Section .nestbed.jobs: an array of these. The strings are addresses within the image.
struct alignas(64) JobDescriptor { // of a size that no compiler pads between two of them
    const char* name;              // "ipi.unicast"
    const char* title;             // one line for people
    const char* reference;         // manual and section, or empty
    void (*run)();
    const char*
        needs; // features that the guest must be shown, separated by commas; the host knows their names
    std::uint32_t vcpus;  // that it runs on; 0: any number
    std::uint32_t ending; // what the host is to expect of it: a number of the payload's own, 0 for its return
};
static_assert(sizeof(JobDescriptor) == 64);

} // namespace nestbed::wire
