// KVM's binary statistics (Documentation/virt/kvm/api.rst, 4.133 KVM_GET_STATS_FD).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace nestbed::kvm {

// What a descriptor reports: the same for every vCPU of a VM, so that it is read once.
struct StatisticDescription {
    std::string name;
    std::string unit; // "", "bytes", "ns", "cycles", "boolean"; powers are spelled out, such as "ns*10^3"
    std::string kind; // "cumulative", "instant", "peak", "linear_histogram", "log_histogram"
    std::uint32_t offset = 0; // bytes from the start of the data block
    std::uint16_t size = 1;   // number of 64-bit values; more than one for histograms
};

struct StatisticsLayout {
    std::uint64_t data_offset = 0;
    std::uint64_t data_bytes = 0;
    std::vector<StatisticDescription> entries;
};

// Errors: host_lacks when the header makes no sense or the read fails.
[[nodiscard]] Result<StatisticsLayout> read_statistics_layout(int stats_fd);

// The layout of vCPU statistics, which is the same for all of a KVM: the first vCPU that has any tells it.
// For any thread.
class VcpuStatisticsLayout {
public:
    // That of a vCPU's statistics. Null where it cannot be had.
    const StatisticsLayout* of(int stats_fd);

    // Null until of() was asked for.
    [[nodiscard]] const StatisticsLayout* known() const noexcept { return _known; }

private:
    std::once_flag _once;
    std::optional<StatisticsLayout> _layout;
    std::atomic<const StatisticsLayout*> _known = nullptr;
};

// The data block that `layout` describes, one value an 8-byte word.
[[nodiscard]] Result<std::vector<std::uint64_t>> read_statistics(int stats_fd,
                                                                 const StatisticsLayout& layout);

// The value of a scalar entry, or the sum over a histogram's buckets.
[[nodiscard]] std::uint64_t value_of(const StatisticDescription& entry,
                                     const std::vector<std::uint64_t>& data);

} // namespace nestbed::kvm
