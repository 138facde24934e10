// How whoever waits is told.
#pragma once

#include <functional>
#include <string>

namespace nestbed::bench {

// `fraction` of the whole is done, 0 to 1.
using Progress = std::function<void(const std::string& what, double fraction)>;

} // namespace nestbed::bench
