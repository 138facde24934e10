#include "core/kvm/statistics.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include <linux/kvm.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/units.hpp"
#include "core/kvm/abi.hpp"

namespace nestbed::kvm {

namespace {

constexpr std::size_t most_descriptors = 4096;
constexpr std::size_t most_name_bytes = 4096;
constexpr std::uint64_t most_data_bytes = MiB; // a vCPU has some 2 KiB

Result<std::vector<char>> read_at(int fd, std::uint64_t offset, std::size_t bytes) {
    std::vector<char> buffer(bytes);
    const auto got = ::pread(fd, buffer.data(), bytes, static_cast<off_t>(offset));
    if (got < 0)
        return fail_errno(ErrorKind::host_lacks, "read KVM's binary statistics");
    if (static_cast<std::size_t>(got) != bytes)
        return fail(ErrorKind::host_lacks, "read KVM's binary statistics",
                    fmt::format("{} of {} bytes at offset {}", got, bytes, offset));
    return buffer;
}

std::string unit_text(const abi::StatsDescriptor& descriptor) {
    std::string unit;
    switch (descriptor.flags & KVM_STATS_UNIT_MASK) {
    case KVM_STATS_UNIT_BYTES:
        unit = "bytes";
        break;
    case KVM_STATS_UNIT_SECONDS:
        unit = "s";
        break;
    case KVM_STATS_UNIT_CYCLES:
        unit = "cycles";
        break;
    case KVM_STATS_UNIT_BOOLEAN:
        unit = "boolean";
        break;
    default:
        break;
    }
    if (unit == "s" && descriptor.exponent == -9)
        return "ns";
    if (descriptor.exponent != 0)
        unit +=
            fmt::format("*{}^{}", (descriptor.flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2 ? 2 : 10,
                        descriptor.exponent);
    return unit;
}

std::string kind_text(const abi::StatsDescriptor& descriptor) {
    switch (descriptor.flags & KVM_STATS_TYPE_MASK) {
    case KVM_STATS_TYPE_CUMULATIVE:
        return "cumulative";
    case KVM_STATS_TYPE_INSTANT:
        return "instant";
    case KVM_STATS_TYPE_PEAK:
        return "peak";
    case KVM_STATS_TYPE_LINEAR_HIST:
        return "linear_histogram";
    case KVM_STATS_TYPE_LOG_HIST:
        return "log_histogram";
    default:
        return "unknown";
    }
}

} // namespace

Result<StatisticsLayout> read_statistics_layout(int stats_fd) {
    const auto raw = read_at(stats_fd, 0, sizeof(kvm_stats_header));
    if (!raw)
        return tl::unexpected{raw.error()};
    kvm_stats_header header{};
    std::memcpy(&header, raw->data(), sizeof header);
    if (header.num_desc > most_descriptors || header.name_size > most_name_bytes)
        return fail(ErrorKind::host_lacks, "read KVM's binary statistics",
                    fmt::format("a header with {} descriptors and names of {} bytes", header.num_desc,
                                header.name_size));
    const auto stride = sizeof(abi::StatsDescriptor) + header.name_size;
    const auto table = read_at(stats_fd, header.desc_offset, stride * header.num_desc);
    if (!table)
        return tl::unexpected{table.error()};

    StatisticsLayout layout{.data_offset = header.data_offset, .data_bytes = 0, .entries = {}};
    for (std::size_t i = 0; i < header.num_desc; ++i) {
        const char* const at = table->data() + i * stride;
        abi::StatsDescriptor descriptor;
        std::memcpy(&descriptor, at, sizeof(abi::StatsDescriptor));
        const char* const name = at + sizeof(abi::StatsDescriptor);
        auto text = std::string(name, ::strnlen(name, header.name_size));
        const auto end = std::uint64_t{descriptor.offset} + std::uint64_t{descriptor.size} * 8;
        if (descriptor.offset % 8 != 0 || end > most_data_bytes)
            return fail(
                ErrorKind::host_lacks, "read KVM's binary statistics",
                fmt::format("\"{}\" at offset {}, {} values", text, descriptor.offset, descriptor.size));
        layout.data_bytes = std::max(layout.data_bytes, end);
        layout.entries.push_back({.name = std::move(text),
                                  .unit = unit_text(descriptor),
                                  .kind = kind_text(descriptor),
                                  .offset = descriptor.offset,
                                  .size = descriptor.size});
    }
    return layout;
}

const StatisticsLayout* VcpuStatisticsLayout::of(int stats_fd) {
    std::call_once(_once, [&] {
        if (auto layout = read_statistics_layout(stats_fd)) {
            _layout = std::move(*layout);
            _known = &*_layout;
        }
    });
    return _known;
}

Result<std::vector<std::uint64_t>> read_statistics(int stats_fd, const StatisticsLayout& layout) {
    const auto raw = read_at(stats_fd, layout.data_offset, layout.data_bytes);
    if (!raw)
        return tl::unexpected{raw.error()};
    std::vector<std::uint64_t> values(layout.data_bytes / 8);
    if (!values.empty())
        std::memcpy(values.data(), raw->data(), values.size() * sizeof(std::uint64_t));
    return values;
}

std::uint64_t value_of(const StatisticDescription& entry, const std::vector<std::uint64_t>& data) {
    const auto first = std::min<std::size_t>(entry.offset / 8, data.size());
    const auto last = std::min<std::size_t>(first + entry.size, data.size());
    return std::accumulate(data.begin() + static_cast<std::ptrdiff_t>(first),
                           data.begin() + static_cast<std::ptrdiff_t>(last), std::uint64_t{0});
}

} // namespace nestbed::kvm
