#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

std::string_view to_string(PageSize size) {
    switch (size) {
    case PageSize::base:
        return "4K";
    case PageSize::thp:
        return "thp";
    case PageSize::huge_2m:
        return "2M";
    case PageSize::huge_1g:
        return "1G";
    }
    return "unknown";
}

Result<PageSize> parse_page_size(std::string_view name) {
    for (const auto size : {PageSize::base, PageSize::thp, PageSize::huge_2m, PageSize::huge_1g})
        if (to_string(size) == name)
            return size;
    return fail(ErrorKind::bad_input, fmt::format("page size \"{}\"", name), "there is no such page size",
                "choose 4K, thp, 2M or 1G");
}

std::uint64_t bytes_of(PageSize size) {
    switch (size) {
    case PageSize::base:
    case PageSize::thp:
        return 4 * KiB;
    case PageSize::huge_2m:
        return 2 * MiB;
    case PageSize::huge_1g:
        return GiB;
    }
    return 4 * KiB;
}

} // namespace nestbed::topology
