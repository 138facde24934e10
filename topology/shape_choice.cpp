#include "topology/shape_choice.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace nestbed::topology {

namespace {

// Lengths of the runs of neighbours that `same` holds together.
template<typename Same>
std::vector<std::uint32_t> run_lengths(const std::vector<VcpuHome>& homes, Same same) {
    std::vector<std::uint32_t> runs;
    for (std::size_t i = 0; i < homes.size(); ++i) {
        if (i > 0 && same(homes[i - 1], homes[i]))
            ++runs.back();
        else
            runs.push_back(1);
    }
    return runs;
}

std::uint32_t common_length(const std::vector<std::uint32_t>& runs) {
    return std::accumulate(runs.begin(), runs.end(), std::uint32_t{0},
                           [](std::uint32_t a, std::uint32_t b) { return std::gcd(a, b); });
}

bool has_twice(std::vector<std::uint32_t>& numbers) {
    std::sort(numbers.begin(), numbers.end());
    return std::adjacent_find(numbers.begin(), numbers.end()) != numbers.end();
}

// Whether every `width` vCPUs in a row, from a multiple of it, are different PUs of one host core.
bool are_siblings(const std::vector<VcpuHome>& homes, std::uint32_t width) {
    std::vector<std::uint32_t> pus;
    for (std::size_t first = 0; first < homes.size(); first += width) {
        pus.clear();
        for (std::size_t i = first; i < first + width; ++i) {
            if (homes[i].core != homes[first].core)
                return false;
            pus.push_back(homes[i].pu);
        }
        if (has_twice(pus))
            return false;
    }
    return true;
}

bool is_overcommitted(const std::vector<VcpuHome>& homes) {
    std::vector<std::uint32_t> pus;
    pus.reserve(homes.size());
    for (const auto& home : homes)
        pus.push_back(home.pu);
    return has_twice(pus);
}

// The most siblings that any host core lends to vCPUs in a row.
std::uint32_t widest_core(const std::vector<VcpuHome>& homes) {
    const auto runs = run_lengths(homes, [](const auto& a, const auto& b) { return a.core == b.core; });
    return *std::max_element(runs.begin(), runs.end());
}

std::uint32_t threads_within(const std::vector<VcpuHome>& homes, std::uint32_t socket) {
    for (auto width = std::min(widest_core(homes), socket); width > 1; --width)
        if (socket % width == 0 && are_siblings(homes, width))
            return width;
    return 1;
}

std::string within_nodes(std::uint32_t socket) {
    return fmt::format("sockets of {}, so that none straddles two virtual nodes", socket);
}

} // namespace

ShapeChoice derive_shape(const std::vector<VcpuHome>& homes, bool pinned) {
    const auto vcpus = static_cast<std::uint32_t>(homes.size());
    const auto same_node = [](const auto& a, const auto& b) { return a.virtual_node == b.virtual_node; };
    const auto nodes = run_lengths(homes, same_node);
    if (!pinned) {
        const auto within_node = common_length(nodes);
        return {.shape = {.sockets = vcpus / within_node, .cores = within_node},
                .reason = fmt::format("{}; one thread a core, since not every vCPU is pinned to one PU",
                                      nodes.size() == 1 ? "one socket" : within_nodes(within_node))};
    }
    const auto packages = run_lengths(
        homes, [&](const auto& a, const auto& b) { return same_node(a, b) && a.package == b.package; });
    // Packages below the node only where they come out even and mean something.
    auto socket = common_length(packages);
    auto why = fmt::format("a socket for each run of {} vCPUs in one host package", socket);
    if (const auto longest = *std::max_element(packages.begin(), packages.end());
        socket == 1 || socket != longest) {
        socket = common_length(nodes);
        why = nodes.size() > 1 ? within_nodes(socket)
              : longest == 1   ? "one socket, since neighbours are in different packages"
                               : "one socket, since the vCPUs divide unevenly over packages";
    }
    if (packages.size() == 1)
        why = "one socket, since all vCPUs are in one host package";
    const auto threads = is_overcommitted(homes) ? 1 : threads_within(homes, socket);
    why += threads > 1 ? fmt::format("; {} threads a core, which are siblings of one host core", threads)
                       : std::string{"; one thread a core, since vCPUs are not paired on host siblings"};
    return {.shape = {.sockets = vcpus / socket, .cores = socket / threads, .threads = threads},
            .reason = std::move(why)};
}

std::vector<std::string> broken_promises(const Shape& shape, const std::vector<VcpuHome>& homes,
                                         bool pinned) {
    std::vector<std::string> broken;
    const std::size_t socket = homes.size() / shape.sockets;
    for (std::size_t first = 0; first < homes.size(); first += socket) {
        const auto stranger = std::find_if(
            homes.begin() + static_cast<std::ptrdiff_t>(first),
            homes.begin() + static_cast<std::ptrdiff_t>(first + socket),
            [&](const VcpuHome& home) { return home.virtual_node != homes[first].virtual_node; });
        if (stranger == homes.begin() + static_cast<std::ptrdiff_t>(first + socket))
            continue;
        broken.push_back(fmt::format("the given shape's socket {} straddles virtual nodes {} and {}",
                                     first / socket, homes[first].virtual_node, stranger->virtual_node));
        break; // one example says it
    }
    if (pinned && shape.threads > 1 && !are_siblings(homes, shape.threads))
        broken.emplace_back("the given shape's threads are not siblings of one host core");
    return broken;
}

} // namespace nestbed::topology
