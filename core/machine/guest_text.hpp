// What a guest left behind, in words.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/machine/vcpu_thread.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::machine {

// "vCPUs 0-5,9"; a long list is cut as format_ranges_within() of base/ranges.hpp cuts it.
[[nodiscard]] std::string vcpu_list(const std::vector<std::uint32_t>& vcpus);

// "#PF (14), error code 0x2, at rip 0x..., cr2 0x...; rax ...". Fields may be garbage; none is followed.
[[nodiscard]] std::string describe_exception(const wire::ExceptionReport& report);

// Registers, mp_state and last exits, a few lines.
[[nodiscard]] std::vector<std::string> describe_snapshot(std::uint32_t vcpu, std::uint32_t apic_id,
                                                         const VcpuSnapshot& snapshot);

// The text of a record that was copied out of guest memory: cut to its size, anything but printable ASCII as
// '?'.
[[nodiscard]] std::string record_text(const wire::Record& copy);

// The same line from many vCPUs becomes one: "vCPUs 0-287: ...".
template<typename Lines>
std::vector<std::string> grouped_by_vcpu(const std::vector<std::unique_ptr<VcpuThread>>& threads,
                                         Lines lines) {
    std::map<std::string, std::vector<std::uint32_t>> by_line;
    for (std::uint32_t vcpu = 0; vcpu < threads.size(); ++vcpu)
        for (const auto& line : lines(*threads[vcpu]))
            by_line[line].push_back(vcpu);
    std::vector<std::string> grouped;
    grouped.reserve(by_line.size());
    for (const auto& [line, vcpus] : by_line)
        grouped.push_back(vcpu_list(vcpus) + ": " + line);
    return grouped;
}

} // namespace nestbed::machine
