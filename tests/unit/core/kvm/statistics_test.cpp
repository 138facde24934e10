#include "core/kvm/statistics.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"
#include "core/kvm/abi.hpp"

namespace nestbed::kvm {
namespace {

using Bytes = std::vector<char>;

constexpr std::uint32_t name_bytes = 16;
constexpr std::uint32_t stride = sizeof(abi::StatsDescriptor) + name_bytes;
constexpr std::uint32_t descriptors_at =
    sizeof(kvm_stats_header) + name_bytes; // after the header comes the id
constexpr std::uint32_t descriptor_count = 4;
constexpr std::uint32_t data_at = descriptors_at + descriptor_count * stride;
constexpr std::uint32_t data_words = 6;

template<typename T>
void put(Bytes& bytes, std::size_t offset, const T& value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
}

void put_descriptor(Bytes& bytes, std::size_t index, const abi::StatsDescriptor& descriptor,
                    std::string_view name) {
    const auto at = descriptors_at + index * stride;
    put(bytes, at, descriptor);
    std::memcpy(bytes.data() + at + sizeof descriptor, name.data(), name.size());
}

// As the kernel lays it out (Documentation/virt/kvm/api.rst, 4.133): header, id, descriptors, data.
Bytes good_file() {
    Bytes bytes(data_at + data_words * 8);
    put(bytes, 0,
        kvm_stats_header{.flags = 0,
                         .name_size = name_bytes,
                         .num_desc = descriptor_count,
                         .id_offset = sizeof(kvm_stats_header),
                         .desc_offset = descriptors_at,
                         .data_offset = data_at});
    put_descriptor(bytes, 0,
                   {.flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE, .size = 1, .offset = 0},
                   "exits");
    put_descriptor(bytes, 1,
                   {.flags = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10,
                    .exponent = -9,
                    .size = 1,
                    .offset = 8},
                   "halt_wait_ns");
    put_descriptor(bytes, 2,
                   {.flags = KVM_STATS_TYPE_LOG_HIST | KVM_STATS_UNIT_CYCLES, .size = 3, .offset = 16},
                   "wait_hist");
    // A name as long as its field has no terminating zero.
    put_descriptor(bytes, 3,
                   {.flags = KVM_STATS_TYPE_PEAK | KVM_STATS_UNIT_BYTES | KVM_STATS_BASE_POW2,
                    .exponent = 12,
                    .size = 1,
                    .offset = 40},
                   "sixteen_letters_");
    for (std::uint64_t word = 0; word < data_words; ++word)
        put(bytes, data_at + word * 8, 100 + word);
    return bytes;
}

Fd as_file(const Bytes& bytes) {
    Fd file{::memfd_create("statistics", MFD_CLOEXEC)};
    EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    return file;
}

TEST(Statistics, LayoutAndValuesAreRead) {
    const auto file = as_file(good_file());
    const auto layout = read_statistics_layout(file.get());
    ASSERT_TRUE(layout) << layout.error().message();
    EXPECT_EQ(layout->data_offset, data_at);
    EXPECT_EQ(layout->data_bytes, data_words * 8);
    const auto values = read_statistics(file.get(), *layout);
    ASSERT_TRUE(values) << values.error().message();
    EXPECT_THAT(*values, testing::ElementsAre(100, 101, 102, 103, 104, 105));

    struct Expected {
        std::string name, unit, kind;
        std::uint64_t value;
    };
    const std::vector<Expected> expected{{"exits", "", "cumulative", 100},
                                         {"halt_wait_ns", "ns", "instant", 101},
                                         {"wait_hist", "cycles", "log_histogram", 102 + 103 + 104},
                                         {"sixteen_letters_", "bytes*2^12", "peak", 105}};
    ASSERT_EQ(layout->entries.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(layout->entries[i].name, expected[i].name);
        EXPECT_EQ(layout->entries[i].unit, expected[i].unit);
        EXPECT_EQ(layout->entries[i].kind, expected[i].kind);
        EXPECT_EQ(value_of(layout->entries[i], *values), expected[i].value);
    }
}

TEST(VcpuStatisticsLayout, TheFirstVcpuTellsItForAll) {
    const auto first = as_file(good_file());
    VcpuStatisticsLayout layout;
    EXPECT_EQ(layout.known(), nullptr);
    const auto* const told = layout.of(first.get());
    ASSERT_NE(told, nullptr);
    EXPECT_EQ(told->entries.size(), 4U);
    EXPECT_EQ(layout.known(), told);
    EXPECT_EQ(layout.of(-1), told);

    VcpuStatisticsLayout none;
    EXPECT_EQ(none.of(-1), nullptr);
    EXPECT_EQ(none.known(), nullptr);
}

TEST(Statistics, NoneIsNoError) {
    auto bytes = good_file();
    put(bytes, offsetof(kvm_stats_header, num_desc), std::uint32_t{0});
    const auto file = as_file(bytes);
    const auto layout = read_statistics_layout(file.get());
    ASSERT_TRUE(layout) << layout.error().message();
    EXPECT_TRUE(layout->entries.empty());
    const auto values = read_statistics(file.get(), *layout);
    ASSERT_TRUE(values) << values.error().message();
    EXPECT_TRUE(values->empty());
}

TEST(Statistics, CutShortAnywhereIsRefused) {
    const auto whole = good_file();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const auto file = as_file({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
        const auto layout = read_statistics_layout(file.get());
        ASSERT_EQ(layout.has_value(), size >= data_at) << size;
        const auto& error = layout ? read_statistics(file.get(), *layout).error() : layout.error();
        EXPECT_EQ(error.kind, ErrorKind::host_lacks) << size;
        EXPECT_THAT(error.found, testing::HasSubstr("bytes at offset")) << size;
    }
}

struct Corruption {
    std::string name;
    std::string complaint;
    std::size_t offset;
    std::uint32_t value;
};

class CorruptStatistics : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptStatistics, AreRefusedBeforeMemoryIsSpentOnThem) {
    auto bytes = good_file();
    put(bytes, GetParam().offset, GetParam().value);
    const auto file = as_file(bytes);
    const auto layout = read_statistics_layout(file.get());
    ASSERT_FALSE(layout);
    EXPECT_EQ(layout.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(layout.error().found, testing::HasSubstr(GetParam().complaint));
}

constexpr std::size_t second_offset = descriptors_at + stride + offsetof(abi::StatsDescriptor, offset);

INSTANTIATE_TEST_SUITE_P(
    All, CorruptStatistics,
    testing::Values(
        Corruption{"TooManyDescriptors", "4097 descriptors", offsetof(kvm_stats_header, num_desc), 4097},
        Corruption{"AllTheDescriptors", "4294967295 descriptors", offsetof(kvm_stats_header, num_desc), ~0U},
        Corruption{"LongNames", "names of 4294967295 bytes", offsetof(kvm_stats_header, name_size), ~0U},
        Corruption{"DescriptorsOutside", "bytes at offset 4294967295",
                   offsetof(kvm_stats_header, desc_offset), ~0U},
        Corruption{"ValueFarAway", "\"halt_wait_ns\" at offset 4294967288", second_offset, ~0U & ~7U},
        Corruption{"ValueJustTooFarAway", "\"halt_wait_ns\" at offset 1048576", second_offset, 1U << 20},
        Corruption{"ValueOffItsWord", "\"halt_wait_ns\" at offset 12", second_offset, 12}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Statistics, ValuesOutsideTheDataAreNotRead) {
    const auto file = as_file(good_file());
    auto layout = read_statistics_layout(file.get());
    ASSERT_TRUE(layout);
    layout->data_offset = ~std::uint64_t{0};
    const auto values = read_statistics(file.get(), *layout);
    ASSERT_FALSE(values);
    EXPECT_EQ(values.error().kind, ErrorKind::host_lacks);
}

struct ValueCase {
    std::uint32_t offset;
    std::uint16_t size;
    std::uint64_t sum;
};

TEST(ValueOf, IsBoundByTheData) {
    const std::vector<std::uint64_t> data{1, 10, 100};
    for (const auto& [offset, size, sum] :
         {ValueCase{0, 1, 1}, ValueCase{8, 1, 10}, ValueCase{0, 3, 111}, ValueCase{16, 2, 100},
          ValueCase{24, 1, 0}, ValueCase{~0U, 0xffff, 0}, ValueCase{0, 0, 0}}) {
        const StatisticDescription entry{.name = "x", .unit = {}, .kind = {}, .offset = offset, .size = size};
        EXPECT_EQ(value_of(entry, data), sum) << offset << " " << size;
    }
    EXPECT_EQ(value_of(StatisticDescription{}, {}), 0U);
}

TEST(Statistics, AClosedDescriptorIsAnError) {
    const auto layout = read_statistics_layout(-1);
    ASSERT_FALSE(layout);
    EXPECT_THAT(layout.error().found, testing::HasSubstr("EBADF"));
}

} // namespace
} // namespace nestbed::kvm
