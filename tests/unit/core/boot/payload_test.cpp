#include "core/boot/payload.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <set>
#include <string>

#include <elf.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/wire/layout.hpp"
#include "core/wire/payload_info.hpp"
#include "elf_image.hpp"

extern "C" {
extern const std::byte stress_payload_image[];
extern const std::byte stress_payload_image_end[];
}

namespace nestbed::boot {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

test::Bytes embedded_image() {
    return {&stress_payload_image[0], &stress_payload_image_end[0]};
}

// Offset in the file of a section's bytes.
std::size_t file_offset(const test::Bytes& bytes, std::string_view section) {
    const auto image = parse_elf64(bytes);
    return static_cast<std::size_t>(image->section(section).data() - bytes.data());
}

// Offset in the file of the header of the section whose bytes are at `data_offset`.
std::size_t header_offset(const test::Bytes& bytes, std::size_t data_offset) {
    Elf64_Ehdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    for (std::size_t i = 0; i < header.e_shnum; ++i) {
        const auto at = header.e_shoff + i * header.e_shentsize;
        Elf64_Shdr section{};
        std::memcpy(&section, bytes.data() + at, sizeof section);
        if (section.sh_type == SHT_PROGBITS && section.sh_offset == data_offset)
            return at;
    }
    return 0;
}

TEST(Payload, TheEmbeddedOneIsWhole) {
    const auto bytes = embedded_image();
    const auto payload = read_payload(bytes);
    ASSERT_TRUE(payload) << payload.error().message();

    const auto& segments = payload->image.segments;
    const auto holds = [&](std::uint64_t address) {
        return std::ranges::any_of(segments, [&](const Segment& segment) {
            return address >= segment.address && address - segment.address < segment.data.size();
        });
    };
    EXPECT_TRUE(holds(wire::trampoline_gpa)) << "where SIPIs lead";
    EXPECT_TRUE(holds(payload->entry64));
    EXPECT_TRUE(holds(payload->vector_stubs));
    EXPECT_TRUE(holds(payload->vector_stubs + std::uint64_t{255} * payload->vector_stub_stride));
    EXPECT_GT(payload->vector_stub_stride, 0U);
    EXPECT_EQ(payload->entry64, payload->image.entry);
    for (const auto& segment : segments)
        EXPECT_TRUE(segment.address + segment.memory_bytes <= wire::boot_block_gpa ||
                    segment.address >= wire::payload_gpa)
            << std::hex << segment.address << ": the host writes its boot block in between";
    EXPECT_LT(payload->image.end(), 2 * MiB) << "below the least guest memory";
}

TEST(Payload, JobsHaveUniqueNamesOfTheFormGroupDotName) {
    const auto bytes = embedded_image();
    const auto payload = read_payload(bytes);
    ASSERT_TRUE(payload) << payload.error().message();
    EXPECT_GE(payload->jobs.size(), 5U);
    std::set<std::string> names;
    for (std::uint32_t i = 0; i < payload->jobs.size(); ++i) {
        const auto& job = payload->jobs[i];
        EXPECT_THAT(job.name, MatchesRegex("[a-z0-9_]+\\.[a-z0-9_]+"));
        EXPECT_FALSE(job.title.empty()) << job.name;
        EXPECT_TRUE(names.insert(job.name).second) << job.name << " twice";
        EXPECT_EQ(payload->job_index(job.name), i);
    }
    EXPECT_TRUE(names.contains("ipi.unicast"));
}

TEST(Payload, UnknownJobsAreBadInput) {
    const auto bytes = embedded_image();
    const auto payload = read_payload(bytes);
    ASSERT_TRUE(payload);
    for (const std::string_view name : {"", "ipi", "ipi.unicast ", "ipi.unicas", "IPI.unicast"}) {
        const auto index = payload->job_index(name);
        ASSERT_FALSE(index) << name;
        EXPECT_EQ(index.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(index.error().found, HasSubstr(fmt::format("\"{}\"", name)));
    }
}

struct Corruption {
    std::string name;
    std::string complaint;
    std::function<void(test::Bytes&)> corrupt;
};

class CorruptPayload : public testing::TestWithParam<Corruption> {};

TEST_P(CorruptPayload, IsRefusedWithTheReason) {
    auto bytes = embedded_image();
    GetParam().corrupt(bytes);
    const auto payload = read_payload(bytes);
    ASSERT_FALSE(payload);
    EXPECT_EQ(payload.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(payload.error().found, HasSubstr(GetParam().complaint));
}

template<typename T>
std::function<void(test::Bytes&)> in_info(std::size_t offset, T value) {
    return [=](test::Bytes& bytes) { test::put(bytes, file_offset(bytes, ".nestbed.info") + offset, value); };
}
std::function<void(test::Bytes&)> in_second_job(std::size_t offset, std::uint64_t value) {
    return [=](test::Bytes& bytes) {
        test::put(bytes, file_offset(bytes, ".nestbed.jobs") + sizeof(wire::JobDescriptor) + offset, value);
    };
}
std::function<void(test::Bytes&)> section_size(std::string_view section, std::uint64_t bytes_less) {
    return [=](test::Bytes& bytes) {
        const auto at = header_offset(bytes, file_offset(bytes, section)) + offsetof(Elf64_Shdr, sh_size);
        std::uint64_t size = 0;
        std::memcpy(&size, bytes.data() + at, sizeof size);
        test::put(bytes, at, size - bytes_less);
    };
}

INSTANTIATE_TEST_SUITE_P(
    All, CorruptPayload,
    testing::Values(Corruption{"Magic", "wrong magic", in_info(0, wire::payload_magic ^ 1)},
                    Corruption{"Version", "wire version 3",
                               in_info(offsetof(wire::PayloadInfo, version), wire::version + 1)},
                    Corruption{"ShortInfo", "no section .nestbed.info", section_size(".nestbed.info", 1)},
                    Corruption{"OddJobTable", "a job table of", section_size(".nestbed.jobs", 8)},
                    Corruption{"NameOutside", "job 1 has a name outside", in_second_job(0, 0)},
                    Corruption{"TitleOutside", "job 1", in_second_job(8, ~std::uint64_t{0})},
                    Corruption{"ReferenceOutside", "job 1", in_second_job(16, 0x7000'0000)},
                    Corruption{"NoElf", "no ELF magic", [](test::Bytes& bytes) { bytes[0] = std::byte{0}; }},
                    Corruption{"AnotherProgram", "no section .nestbed.info",
                               [](test::Bytes& bytes) { bytes = test::good_image(); }}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::boot
