// Kernel modules as values: what one says of itself, and the order to load them in.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::lab {

struct ModuleInfo {
    std::vector<std::string> depends; // names as module_name() gives them
    std::string release;              // the first word of vermagic; empty where there is none
};

// "kvm-amd.ko.xz" and "kvm_amd" both give "kvm_amd": the kernel takes the dash for an underscore.
[[nodiscard]] std::string module_name(std::string_view file_name);
// Whether a file name is one of a module, compressed or not.
[[nodiscard]] bool is_module_file(std::string_view file_name);

// From the section .modinfo of a module that is not compressed. Errors: bad_input.
[[nodiscard]] Result<ModuleInfo> read_module_info(std::span<const std::byte> module);

// `wanted` and all that they need, each after what it needs. Names in `built_in` are left out. `info_of` is
// asked once for each name. Errors: its own, and bad_input where modules depend on one another in a circle.
[[nodiscard]] Result<std::vector<std::string>>
load_order(const std::vector<std::string>& wanted, const std::set<std::string>& built_in,
           const std::function<Result<ModuleInfo>(const std::string& name)>& info_of);

// What a kernel's command line sets of a module's parameters, as modprobe(8) reads it: of "kvm_amd.nested=1
// quiet kvm.halt_poll_ns=0", "nested=1" for kvm_amd. In their order, so that the kernel takes the last.
[[nodiscard]] std::string module_parameters(std::string_view command_line, std::string_view module);

// The names in the text of modules.builtin.
[[nodiscard]] std::set<std::string> parse_built_in(std::string_view text);

} // namespace nestbed::lab
