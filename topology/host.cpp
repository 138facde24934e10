#include "topology/host.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "topology/host_walk.hpp"
#include "topology/hwloc_source.hpp"
#include "topology/this_host.hpp"

namespace nestbed::topology {

namespace {

bool names_a_file(std::string_view source) {
    std::string tail{source.substr(source.size() - std::min<std::size_t>(source.size(), 4))};
    std::transform(tail.begin(), tail.end(), tail.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (tail == ".xml")
        return true;
    // No description has a slash outside of parentheses; what has one and does not exist is a wrong path.
    if (source.find('/') < source.find('('))
        return true;
    std::error_code error;
    return std::filesystem::exists(std::filesystem::path{source}, error);
}

Result<LoadedTopology> load(std::string_view source) {
    const auto blank = [](unsigned char c) { return std::isspace(c) != 0; };
    if (std::all_of(source.begin(), source.end(), blank))
        return fail(ErrorKind::bad_input, "a host to plan for", "an empty description",
                    "give \"auto\" for this host");
    if (source.find('\0') != std::string_view::npos)
        return fail(ErrorKind::bad_input, "a host to plan for", "a zero byte in its description");
    if (source == "auto")
        return load_this_host();
    return names_a_file(source) ? load_xml_file(source) : load_synthetic(source);
}

void add_current_state(Host& host) {
    const auto isolated = read_isolated_pus();
    for (auto& pu : host.pus)
        pu.isolated = std::binary_search(isolated.begin(), isolated.end(), pu.os_index);
    for (auto& node : host.nodes) {
        auto state = read_node_state(node.os_index, host.nodes.size() == 1);
        if (state.memory_bytes == 0)
            continue;
        node.memory_bytes = state.memory_bytes;
        node.free_bytes = std::min(state.free_bytes, state.memory_bytes);
        node.huge_pages = std::move(state.huge_pages);
    }
}

} // namespace

Result<Host> discover(std::string_view source) {
    auto loaded = load(source);
    if (!loaded)
        return tl::unexpected{loaded.error()};
    // A matrix of distances is quadratic, and Linux ends there (CONFIG_NODES_SHIFT is at most 10).
    constexpr int max_nodes = 1024;
    const int nodes = hwloc_get_nbobjs_by_type(loaded->topology.get(), HWLOC_OBJ_NUMANODE);
    if (nodes > max_nodes)
        return fail(ErrorKind::bad_input, fmt::format("host \"{}\"", source),
                    fmt::format("{} NUMA nodes", nodes),
                    fmt::format("describe at most {}, which is where Linux ends", max_nodes));
    auto host = walk(loaded->topology.get(), loaded->memory_is_known);
    host.source = loaded->is_this_host ? "this host" : std::string{source};
    host.is_this_host = loaded->is_this_host;
    host.xml = std::move(loaded->xml);
    if (host.is_this_host)
        add_current_state(host);
    return host;
}

std::vector<std::uint32_t> allowed_pus(const Host& host) {
    std::vector<std::uint32_t> indexes;
    for (std::uint32_t i = 0; i < host.pus.size(); ++i)
        if (host.pus[i].allowed)
            indexes.push_back(i);
    return indexes;
}

} // namespace nestbed::topology
