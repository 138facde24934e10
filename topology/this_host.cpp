#include "topology/this_host.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/number_list.hpp"
#include "topology/text_file.hpp"

namespace nestbed::topology {

namespace {

std::vector<HugePagePool> read_huge_pages(const std::string& directory) {
    std::vector<HugePagePool> pools;
    std::error_code error;
    for (std::filesystem::directory_iterator entry{directory, error}, end; !error && entry != end;
         entry.increment(error)) {
        const auto name = entry->path().filename().string(); // "hugepages-2048kB"
        const auto dash = name.find('-');
        const auto page = dash == std::string::npos ? 0 : parse_size(name.substr(dash + 1)).value_or(0);
        const auto total = read_number_file(entry->path() / "nr_hugepages");
        const auto free = read_number_file(entry->path() / "free_hugepages");
        if (page != 0 && total && free)
            pools.push_back({.page_bytes = page, .total = *total, .free = *free});
    }
    std::sort(pools.begin(), pools.end(),
              [](const auto& a, const auto& b) { return a.page_bytes < b.page_bytes; });
    return pools;
}

} // namespace

NodeState read_node_state(std::uint32_t os_index, bool is_only_node) {
    constexpr std::size_t enough = 64 * KiB;
    const auto directory = fmt::format("/sys/devices/system/node/node{}", os_index);
    NodeState state;
    if (const auto text = read_text_file(directory + "/meminfo", enough)) {
        const auto bytes = [&](std::string_view key) { return find_number(*text, key).value_or(0) * KiB; };
        state.memory_bytes = bytes("MemTotal");
        state.free_bytes =
            bytes("MemFree") + bytes("Active(file)") + bytes("Inactive(file)") + bytes("SReclaimable") / 2;
    }
    state.huge_pages = read_huge_pages(directory + "/hugepages");
    if (!is_only_node)
        return state;
    if (const auto text = read_text_file("/proc/meminfo", enough)) {
        state.memory_bytes = std::max(state.memory_bytes, find_number(*text, "MemTotal").value_or(0) * KiB);
        state.free_bytes = find_number(*text, "MemAvailable").value_or(state.free_bytes / KiB) * KiB;
    }
    if (state.huge_pages.empty())
        state.huge_pages = read_huge_pages("/sys/kernel/mm/hugepages");
    return state;
}

std::vector<std::uint32_t> read_isolated_pus() {
    constexpr std::size_t enough = 64 * KiB;
    auto text = read_text_file("/sys/devices/system/cpu/isolated", enough);
    if (!text)
        return {};
    while (!text->empty() && std::isspace(static_cast<unsigned char>(text->back())) != 0)
        text->pop_back();
    auto pus = parse_number_list(*text, max_pu_index, max_pu_index);
    if (!pus)
        return {};
    std::sort(pus->begin(), pus->end());
    return std::move(*pus);
}

} // namespace nestbed::topology
