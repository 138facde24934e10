// Which kernel module serves /dev/kvm, from sysfs.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace nestbed::report {

// "kvm_intel", "kvm_amd" or another vendor module; empty where none serves. One that is built into the kernel
// is always in sysfs and counts only where the CPU has what it needs. `sysroot` holds sys/ and proc/.
[[nodiscard]] std::string find_kvm_module(const std::filesystem::path& sysroot);

// "kvm_amd.nested" -> "1", as the kernel writes it. Empty for a module that is not there; parameters that may
// not be read are left out.
[[nodiscard]] std::map<std::string, std::string> read_module_parameters(const std::filesystem::path& sysroot,
                                                                        const std::string& module);

} // namespace nestbed::report
