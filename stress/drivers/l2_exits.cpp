#include "stress/drivers/l2_exits.hpp"

#include <fmt/format.h>

namespace nestbed::stress {

std::vector<std::string> judge_l2_exits(std::span<const wire::l2_exit_mix::Counts> counts, bool has_paging,
                                        const L2Vendor& vendor) {
    using wire::l2_exit_mix::kinds;
    std::vector<std::string> wrong;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const auto vcpu = i / kinds;
        const auto kind = i % kinds;
        const auto& seen = counts[i];
        if (kind == wire::l2_exits::nested_page_fault && !has_paging)
            continue;
        if (seen.wrong != 0)
            wrong.push_back(fmt::format("vCPU {}, {}: {} after {} good exits", vcpu, vendor.kinds[kind],
                                        vendor.exit_text(seen.wrong_code), seen.handled));
        else if (seen.made != seen.handled || seen.made == 0)
            wrong.push_back(fmt::format("vCPU {}, {}: L2 made {} exits, L1 saw {}", vcpu, vendor.kinds[kind],
                                        seen.made, seen.handled));
        else if (seen.ended != 1)
            wrong.push_back(fmt::format("vCPU {}, {}: L2 did not come to its end", vcpu, vendor.kinds[kind]));
    }
    return wrong;
}

} // namespace nestbed::stress
