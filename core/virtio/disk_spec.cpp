#include "core/virtio/disk_spec.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "base/edit_distance.hpp"
#include "base/units.hpp"

namespace nestbed::virtio {

namespace {

constexpr std::array<std::string_view, 4> keys{"file", "ro", "iops", "bps"};
constexpr std::string_view form = "write file=PATH[,ro][,iops=N][,bps=N]";

// A lot, and far from where arithmetic with nanoseconds ends.
constexpr std::uint64_t most_per_second = std::uint64_t{1} << 50;

// At commas; two of them are one that does not part.
std::vector<std::string> parts_of(std::string_view text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',')
            parts.back() += text[i];
        else if (i + 1 < text.size() && text[i + 1] == ',')
            parts.back() += text[i++];
        else
            parts.emplace_back();
    }
    return parts;
}

} // namespace

Result<DiskSpec> parse_disk(std::string_view text) {
    const auto refuse = [&](std::string found, std::string remedy = std::string{form}) {
        return fail(ErrorKind::bad_input, fmt::format("disk \"{}\"", text), std::move(found),
                    std::move(remedy));
    };
    DiskSpec spec;
    std::set<std::string, std::less<>> seen;
    for (const auto& part : parts_of(text)) {
        const auto equals = part.find('=');
        const auto key = part.substr(0, equals);
        const auto value = equals == std::string::npos ? std::string{} : part.substr(equals + 1);
        if (std::ranges::find(keys, key) == keys.end())
            return key.empty()
                       ? refuse("an empty part")
                       : refuse(fmt::format("\"{}\" is unknown", key),
                                fmt::format("did you mean {}? A comma in the file's name is written twice",
                                            nearest(key, keys)));
        if (!seen.insert(key).second)
            return refuse(fmt::format("{} is there twice", key));
        if (key == "ro" && equals != std::string::npos)
            return refuse("ro takes no value");
        if (key != "ro" && value.empty())
            return refuse(fmt::format("{} has no value", key));
        if (key == "file") {
            spec.file = value;
        } else if (key == "ro") {
            spec.read_only = true;
        } else {
            const auto number =
                key == "bps" ? parse_size(value) : parse_count(value, "iops", most_per_second);
            if (!number)
                return refuse(fmt::format("{}: {}", key, number.error().found), number.error().remedy);
            if (*number == 0 || *number > most_per_second)
                return refuse(fmt::format("{} of {}", key, *number),
                              fmt::format("from 1 to {}, or leave it out for no limit", most_per_second));
            (key == "bps" ? spec.bytes_per_second : spec.requests_per_second) = *number;
        }
    }
    if (spec.file.empty())
        return refuse("no file");
    return spec;
}

} // namespace nestbed::virtio
