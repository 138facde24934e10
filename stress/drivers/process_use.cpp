#include "stress/drivers/process_use.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <malloc.h>

#include "base/units.hpp"

namespace nestbed::stress {

namespace {

// glibc keeps up to 40 MiB of stacks of ended threads, and arenas of the threads that allocated; both are
// there after the first machines, but not always at their largest.
constexpr std::uint64_t kept_mappings = 64;
constexpr std::uint64_t kept_bytes = 16 * MiB;

std::uint64_t kibibytes_of(std::string_view status, std::string_view name) {
    const auto at = status.find(name);
    if (at == std::string_view::npos)
        return 0;
    auto rest = status.substr(at + name.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    std::uint64_t value = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), value);
    return value;
}

} // namespace

std::uint64_t resident_bytes(std::string_view status) {
    return (kibibytes_of(status, "\nRssAnon:") + kibibytes_of(status, "\nRssShmem:")) * KiB;
}

Result<ProcessUse> process_use() {
    const auto counted = footprint();
    if (!counted)
        return tl::unexpected{counted.error()};
    ::malloc_trim(0);
    std::ifstream maps{"/proc/self/maps"};
    std::ifstream status{"/proc/self/status"};
    if (!maps || !status)
        return fail(ErrorKind::host_lacks, "read /proc/self/maps and /proc/self/status",
                    "they cannot be opened");
    const std::string text{std::istreambuf_iterator<char>{status}, {}};
    return ProcessUse{.footprint = *counted,
                      .mappings = static_cast<std::uint64_t>(std::count(
                          std::istreambuf_iterator<char>{maps}, std::istreambuf_iterator<char>{}, '\n')),
                      .resident_bytes = resident_bytes(text)};
}

Result<ProcessUse> settled_process_use(const ProcessUse& before) {
    return settled_footprint(before.footprint).and_then([](const Footprint&) { return process_use(); });
}

std::vector<std::string> judge_process_use(const ProcessUse& before, const ProcessUse& after,
                                           std::uint64_t machines) {
    std::vector<std::string> wrong;
    const auto more = [&](std::string_view what, std::uint64_t was, std::uint64_t is, std::uint64_t allowed) {
        if (is > was + allowed)
            wrong.push_back(fmt::format("{} {} before, {} after {} machines", what, was, is, machines));
    };
    more("threads:", before.footprint.threads, after.footprint.threads, 0);
    more("descriptors:", before.footprint.descriptors, after.footprint.descriptors, 0);
    more("mappings:", before.mappings, after.mappings, kept_mappings + machines / 2);
    more("bytes of memory:", before.resident_bytes, after.resident_bytes, kept_bytes + machines * 4 * KiB);
    return wrong;
}

} // namespace nestbed::stress
