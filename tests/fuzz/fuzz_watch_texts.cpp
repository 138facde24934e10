// What `place watch` reads of another process: its record, and the kernel's files about its threads. The
// first byte chooses.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "require.hpp"
#include "topology/machine_record.hpp"
#include "topology/proc_text.hpp"

using nestbed::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nestbed::topology;
    if (size == 0)
        return -1;
    const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
    switch (data[0]) {
    case 'r':
        if (const auto record = parse_record(text)) {
            require(!record->threads.empty() && !record->host_nodes.empty());
            for (const auto& range : record->ranges)
                require(range.virtual_node < record->host_nodes.size() &&
                        range.bytes % range.page_bytes == 0 && range.address + range.bytes >= range.address);
            const auto again = format_record(*record);
            const auto read = parse_record(again);
            require(read.has_value() && format_record(*read) == again);
        }
        return 0;
    case 's':
        static_cast<void>(last_processor(text));
        return 0;
    case 't':
        static_cast<void>(parse_schedstat(text));
        return 0;
    case 'm':
        static_cast<void>(parse_migrations(text));
        return 0;
    default:
        return -1;
    }
}
