// The option --disk as a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed::virtio {

struct DiskSpec {
    std::string file; // a raw image or a block device
    bool read_only = false;
    std::optional<std::uint64_t> requests_per_second; // at least 1
    std::optional<std::uint64_t> bytes_per_second;    // at least 1
    bool operator==(const DiskSpec&) const = default;
};

// "file=F,ro,iops=N,bps=N": the file has to be there, the rest may be, in any order. A comma in the file's
// name is written twice. `bps` takes suffixes as sizes do. Errors: bad_input, which name the part.
[[nodiscard]] Result<DiskSpec> parse_disk(std::string_view text);

} // namespace nestbed::virtio
