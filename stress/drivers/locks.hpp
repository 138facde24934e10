// The judgement of the drivers "lock.*". Values only.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "stress/wire/locks.hpp"

namespace nestbed::stress {

// A line for each sum that does not come out.
[[nodiscard]] std::vector<std::string> judge_lock(const wire::locks::State& state,
                                                  std::span<const wire::locks::Counts> counts);

} // namespace nestbed::stress
