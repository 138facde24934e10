#include "topology/machine_record.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "topology/number_list.hpp"

namespace nestbed::topology {

namespace {

constexpr std::string_view first_line = "nestbed machine 1";
constexpr std::size_t most_vcpus = 65'536;
constexpr std::size_t most_nodes = 1024;
constexpr std::size_t most_ranges = 4096;
constexpr std::uint32_t largest_os_index = 1'048'575;
constexpr std::size_t most_pus = 16'384;             // of one vCPU, as topology::discover() has it
constexpr std::size_t most_places = 64 * most_vcpus; // of all of them

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto blank = std::min(line.find(' '), line.size());
        words.push_back(line.substr(0, blank));
        line.remove_prefix(std::min(blank + 1, line.size()));
    }
    return words;
}

template<typename Number>
std::optional<Number> number_of(std::string_view word) {
    Number value = 0;
    const auto [stop, code] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (code != std::errc{} || stop != word.data() + word.size() || word.starts_with('-'))
        return std::nullopt;
    return value;
}

// Line by line into a record.
class Reader {
public:
    bool take(std::string_view line) {
        const auto words = words_of(line);
        if (words.empty())
            return false;
        if (words[0] == "vcpu" && words.size() == 3)
            return take_thread(words[1], words[2]);
        if (words[0] == "node" && words.size() == 2)
            return take_node(words[1]);
        if (words[0] == "range" && words.size() == 5)
            return take_range(words);
        return false;
    }
    [[nodiscard]] MachineRecord& record() { return _record; }

private:
    bool take_thread(std::string_view tid, std::string_view pus) {
        const auto number = number_of<pid_t>(tid);
        if (!number || *number == 0 || _record.threads.size() == most_vcpus)
            return false;
        MachineRecord::Thread thread{.tid = *number, .pus = {}};
        if (pus != "-") {
            auto list = parse_number_list(pus, largest_os_index, std::min(most_pus, _places_left));
            if (!list)
                return false;
            _places_left -= list->size();
            thread.pus = *std::move(list);
        }
        _record.threads.push_back(std::move(thread));
        return true;
    }
    bool take_node(std::string_view host_node) {
        if (_record.host_nodes.size() == most_nodes)
            return false;
        const auto number = number_of<std::uint32_t>(host_node);
        if (host_node != "-" && (!number || *number > largest_os_index))
            return false;
        _record.host_nodes.push_back(number);
        return true;
    }
    bool take_range(const std::vector<std::string_view>& words) {
        const auto node = number_of<std::uint32_t>(words[1]);
        const auto address = number_of<std::uint64_t>(words[2]), bytes = number_of<std::uint64_t>(words[3]),
                   page = number_of<std::uint64_t>(words[4]);
        if (!node || !address || !bytes || !page || _record.ranges.size() == most_ranges)
            return false;
        if (*page < 4096 || !std::has_single_bit(*page) || *bytes == 0 || *bytes % *page != 0 ||
            *bytes > std::numeric_limits<std::uint64_t>::max() - *address)
            return false;
        _record.ranges.push_back({*node, *address, *bytes, *page});
        return *node < _record.host_nodes.size();
    }

    MachineRecord _record;
    std::size_t _places_left = most_places;
};

} // namespace

std::string format_record(const MachineRecord& record) {
    auto text = fmt::format("{}\n", first_line);
    for (const auto& thread : record.threads) {
        auto pus = thread.pus;
        std::sort(pus.begin(), pus.end());
        text += fmt::format("vcpu {} {}\n", thread.tid, pus.empty() ? "-" : format_ranges(pus));
    }
    for (const auto& node : record.host_nodes)
        text += node ? fmt::format("node {}\n", *node) : "node -\n";
    for (const auto& range : record.ranges)
        text += fmt::format("range {} {} {} {}\n", range.virtual_node, range.address, range.bytes,
                            range.page_bytes);
    return text;
}

Result<MachineRecord> parse_record(std::string_view text) {
    Reader reader;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const auto end = text.find('\n');
        const auto line = text.substr(0, end);
        const bool is_good =
            end != std::string_view::npos && (number == 1 ? line == first_line : reader.take(line));
        if (!is_good)
            return fail(ErrorKind::bad_input, "read what a machine tells of itself",
                        fmt::format("line {} is not as it should be", number),
                        "use the nestbed that runs it");
        text.remove_prefix(end + 1);
    }
    if (reader.record().threads.empty() || reader.record().host_nodes.empty())
        return fail(ErrorKind::bad_input, "read what a machine tells of itself", "it has no vCPU or no node");
    return std::move(reader.record());
}

} // namespace nestbed::topology
