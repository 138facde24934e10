// The judgement of the driver "l2-exits". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/drivers/l2_vendor.hpp"
#include "stress/wire/l2_exit_mix.hpp"

namespace nestbed::stress {

// A line for each vCPU and kind of exit that both sides do not count alike. Without nested paging there are
// no nested page faults. `counts` are by vCPU, then kind.
[[nodiscard]] std::vector<std::string> judge_l2_exits(std::span<const wire::l2_exit_mix::Counts> counts,
                                                      bool has_paging, const L2Vendor& vendor);

} // namespace nestbed::stress
