// Any bytes as an ELF image and as a payload.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/boot/elf.hpp"
#include "core/boot/payload.hpp"
#include "require.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span{data, size});
    const auto lies_in = [&](std::span<const std::byte> part) {
        return part.empty() ||
               (part.data() >= bytes.data() && part.data() + part.size() <= bytes.data() + size);
    };
    const auto image = nestbed::boot::parse_elf64(bytes);
    if (!image) {
        require(image.error().kind == nestbed::ErrorKind::bad_input && !image.error().found.empty());
        require(!nestbed::boot::read_payload(bytes));
        return 0;
    }
    require(!image->segments.empty());
    std::uint64_t end = 0;
    for (const auto& segment : image->segments) {
        require(lies_in(segment.data) && segment.data.size() <= segment.memory_bytes);
        require(segment.address >= end);
        end = segment.address + segment.memory_bytes;
        require(end > segment.address);
        if (const auto text = image->string_at(segment.address))
            require(text->size() < segment.data.size());
    }
    require(image->end() == end);
    for (const auto& section : image->sections)
        require(lies_in(section.data) && section.name.size() <= size);
    if (const auto payload = nestbed::boot::read_payload(bytes))
        for (const auto& job : payload->jobs)
            require(payload->job_index(job.name).has_value());
    return 0;
}
