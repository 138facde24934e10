#include "core/boot/payload.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "core/wire/payload_info.hpp"

namespace nestbed::boot {

namespace {

tl::unexpected<Error> refuse(std::string why) {
    return fail(ErrorKind::bad_input, "read the payload", std::move(why));
}

// What stands between the commas.
std::vector<std::string> words(std::string_view list) {
    std::vector<std::string> result;
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        if (comma > 0)
            result.emplace_back(list.substr(0, comma));
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return result;
}

Result<std::vector<PayloadJob>> read_jobs(const ElfImage& image) {
    // The strings are addresses in the image, not in this process: read them as numbers.
    struct RawJob {
        std::uint64_t name, title, reference, run, needs;
        std::uint32_t vcpus, ending;
        std::uint64_t unused[2];
    };
    static_assert(sizeof(RawJob) == sizeof(wire::JobDescriptor));
    const auto table = image.section(".nestbed.jobs");
    if (table.size() % sizeof(RawJob) != 0)
        return refuse(fmt::format("a job table of {} bytes", table.size()));
    std::vector<PayloadJob> jobs;
    for (std::size_t offset = 0; offset < table.size(); offset += sizeof(RawJob)) {
        RawJob raw{};
        std::memcpy(&raw, table.data() + offset, sizeof raw);
        auto name = image.string_at(raw.name);
        auto title = image.string_at(raw.title);
        auto reference = image.string_at(raw.reference);
        auto needs = image.string_at(raw.needs);
        if (!name || !title || !reference || !needs)
            return refuse(fmt::format("job {} has a name outside the image", offset / sizeof(RawJob)));
        jobs.push_back({std::move(*name), std::move(*title), std::move(*reference), words(*needs), raw.vcpus,
                        raw.ending});
    }
    return jobs;
}

} // namespace

Result<std::uint32_t> Payload::job_index(std::string_view name) const {
    for (std::uint32_t i = 0; i < jobs.size(); ++i)
        if (jobs[i].name == name)
            return i;
    return refuse(fmt::format("it has no job \"{}\"", name));
}

Result<Payload> read_payload(std::span<const std::byte> bytes) {
    auto image = parse_elf64(bytes);
    if (!image)
        return tl::unexpected{image.error()};
    const auto section = image->section(".nestbed.info");
    wire::PayloadInfo info{};
    if (section.size() < sizeof info)
        return refuse("no section .nestbed.info");
    std::memcpy(&info, section.data(), sizeof info);
    if (info.magic != wire::payload_magic)
        return refuse("wrong magic in .nestbed.info");
    if (info.version != wire::version)
        return refuse(fmt::format("wire version {}, this program speaks {}", info.version, wire::version));
    auto jobs = read_jobs(*image);
    if (!jobs)
        return tl::unexpected{jobs.error()};
    return Payload{std::move(*image), info.entry64, info.vector_stubs, info.vector_stub_stride,
                   std::move(*jobs)};
}

} // namespace nestbed::boot
