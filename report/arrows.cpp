#include "report/arrows.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace nestbed::report {

namespace {

constexpr std::uint64_t end_ns_at_most = 1000;

// Where arrows start: those of one track that start together.
struct Start {
    std::uint64_t end_ns = 0; // of the last of them
    std::vector<std::uint32_t> arrows;
};

struct Row {
    std::map<std::uint64_t, Start> starts;       // by time
    std::map<std::uint64_t, std::uint32_t> ends; // by time, the one that has its slice there
};

} // namespace

std::vector<ArrowSlice> arrange(std::span<const Arrow> arrows) {
    std::map<std::uint32_t, Row> rows;
    for (std::uint32_t i = 0; i < arrows.size(); ++i) {
        const auto& arrow = arrows[i];
        if (arrow.end_ns < arrow.start_ns)
            continue;
        auto& start = rows[arrow.from].starts[arrow.start_ns];
        start.end_ns = std::max(start.end_ns, arrow.end_ns);
        start.arrows.push_back(i);
    }
    for (auto& [track, row] : rows) {
        std::uint64_t under_way_until = 0;
        std::erase_if(row.starts, [&](const auto& one) {
            const auto& [start_ns, start] = one;
            if (start_ns < under_way_until)
                return true;
            under_way_until = start.end_ns;
            return false;
        });
    }
    // The first to end at a time has the slice.
    for (auto& [track, row] : rows)
        for (auto& [start_ns, start] : row.starts)
            std::erase_if(start.arrows, [&](std::uint32_t i) {
                auto& other = rows[arrows[i].to];
                return other.starts.contains(arrows[i].end_ns) ||
                       !other.ends.emplace(arrows[i].end_ns, i).second;
            });
    std::vector<ArrowSlice> slices;
    for (const auto& [track, row] : rows) {
        for (const auto& [start_ns, start] : row.starts)
            if (!start.arrows.empty())
                slices.push_back({track, start_ns, start.end_ns - start_ns, true, start.arrows});
        for (auto end = row.ends.begin(); end != row.ends.end(); ++end) {
            const auto at = end->first;
            auto until = at + end_ns_at_most;
            if (const auto next = std::next(end); next != row.ends.end())
                until = std::min(until, next->first);
            const auto later = row.starts.upper_bound(at);
            if (later != row.starts.end())
                until = std::min(until, later->first);
            if (later != row.starts.begin() && at < std::prev(later)->second.end_ns)
                until = std::min(until, std::prev(later)->second.end_ns);
            slices.push_back({track, at, until - at, false, {end->second}});
        }
    }
    std::ranges::stable_sort(slices, {}, &ArrowSlice::start_ns);
    return slices;
}

} // namespace nestbed::report
