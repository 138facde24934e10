// The distribution's own kernel, fetched and unpacked without being installed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"

namespace nestbed::lab {

// The packages of kernel images and modules among what `apt-cache show PACKAGE` names under Depends, in its
// first stanza; of alternatives the first.
[[nodiscard]] std::vector<std::string> kernel_dependencies(std::string_view shown);

// Whether the lab needs this file of a kernel package, such as "boot/vmlinuz-6.1": the image, and of the
// modules those that KVM can depend on.
[[nodiscard]] bool belongs_to_kernel(std::string_view path);

// Fills `folder` with boot/vmlinuz-RELEASE and lib/modules/RELEASE of the kernel that the distribution
// installs by default. Needs apt, and no root. Errors: host_lacks, cancelled.
[[nodiscard]] Status fetch_kernel(const std::filesystem::path& folder, supervise::Supervisor& supervisor);

} // namespace nestbed::lab
