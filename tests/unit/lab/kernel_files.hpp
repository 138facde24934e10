// The least that passes for a bzImage and for a kernel module.
#pragma once

#include <string>

namespace nestbed::test {

// `version` as the kernel has it: release, blank, the rest.
[[nodiscard]] std::string kernel_image(const std::string& version);

// An ELF object whose .modinfo has these two fields.
[[nodiscard]] std::string kernel_module(const std::string& depends, const std::string& release);

} // namespace nestbed::test
