// A level of a tower: the machine that `nestbed boot` runs with KVM, and what it is given to start.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lab/shape.hpp"

namespace nestbed::lab {

// The whole command line, `program`, a nestbed, first. Its result document goes to `results`. There is no
// deadline of its own; the shape has passed check_shape().
[[nodiscard]] std::vector<std::string> kvm_machine_command(const std::filesystem::path& program,
                                                           const Shape& shape, const Boot& boot,
                                                           const std::filesystem::path& results);

} // namespace nestbed::lab
