// The lists that QEMU's options take: "q35,accel=kvm,kernel-irqchip=split".
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace nestbed::guests {

// At least one, which may be empty. QEMU's ",," for a comma in a value is not known here.
[[nodiscard]] std::vector<std::string_view> split_properties(std::string_view text);

// Name and value; the value is empty where there is no '='.
[[nodiscard]] std::pair<std::string_view, std::string_view> split_property(std::string_view text);

// on, yes, true, y; off, no, false, n.
[[nodiscard]] std::optional<bool> parse_switch(std::string_view text);

} // namespace nestbed::guests
