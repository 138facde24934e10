// A payload image: our own freestanding guest program, with the table of the jobs that it can run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/elf.hpp"

namespace nestbed::boot {

struct PayloadJob {
    std::string name;
    std::string title;
    std::string reference;          // manual and section, or empty
    std::vector<std::string> needs; // features that the guest must be shown
    std::uint32_t vcpus = 0;        // that it runs on; 0: any number
    std::uint32_t ending = 0;       // wire::JobDescriptor::ending
};

// Views into the image, which must outlive it.
struct Payload {
    ElfImage image;
    std::uint64_t entry64 = 0;
    std::uint64_t vector_stubs = 0;
    std::uint32_t vector_stub_stride = 0;
    std::vector<PayloadJob> jobs; // in the order of the payload's own table

    // Position in the table. Errors: bad_input where the payload has no such job.
    [[nodiscard]] Result<std::uint32_t> job_index(std::string_view name) const;
};

// Errors: bad_input for an image that is no payload, speaks another wire version, or contradicts itself.
[[nodiscard]] Result<Payload> read_payload(std::span<const std::byte> image);

} // namespace nestbed::boot
