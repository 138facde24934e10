#include "topology/mapping/bisection.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace nestbed::topology::mapping {

namespace {

constexpr std::uint32_t unset = ~0U;
constexpr std::uint32_t coarse_enough = 32; // vertices: small graphs are cut well from many beginnings

struct Bounds {
    std::uint32_t least = 0, most = 0;

    // How far a size is outside.
    [[nodiscard]] std::uint32_t miss(std::uint32_t size) const {
        return size < least ? least - size : size > most ? size - most : 0;
    }
};

struct Cut {
    std::vector<bool> is_first;
    std::uint32_t size = 0; // of the first part
    std::int64_t weight = 0;

    [[nodiscard]] std::pair<std::uint32_t, std::int64_t> rank(const Bounds& bounds) const {
        return {bounds.miss(size), weight};
    }
};

Cut measure(const Graph& graph, std::vector<bool> is_first) {
    Cut cut{.is_first = std::move(is_first)};
    for (std::uint32_t v = 0; v < graph.vertices(); ++v) {
        cut.size += cut.is_first[v] ? graph.sizes[v] : 0;
        for (const auto& edge : graph.edges[v])
            cut.weight += edge.to > v && cut.is_first[edge.to] != cut.is_first[v] ? edge.weight : 0;
    }
    return cut;
}

// Moves vertices one by one, the best first and each once, then takes back what came after the best state.
class Refinement {
public:
    Refinement(const Graph& graph, const Bounds& bounds, Cut& cut)
        : _graph{graph}, _bounds{bounds}, _cut{cut},
          _gains(graph.vertices()), _slack{*std::max_element(graph.sizes.begin(), graph.sizes.end())} {
        for (std::uint32_t v = 0; v < graph.vertices(); ++v)
            for (const auto& edge : graph.edges[v])
                _gains[v] += cut.is_first[edge.to] == cut.is_first[v] ? -edge.weight : edge.weight;
    }

    // Whether the cut got better.
    bool pass() {
        std::vector<bool> is_locked(_graph.vertices(), false);
        std::vector<std::uint32_t> moved;
        const auto start = _cut.rank(_bounds);
        auto best = start;
        std::size_t kept = 0;
        const std::size_t patience = 64 + _graph.vertices() / 8;
        while (moved.size() < _graph.vertices() && moved.size() < kept + patience) {
            const auto vertex = choose(is_locked);
            if (vertex == unset)
                break;
            flip(vertex);
            is_locked[vertex] = true;
            moved.push_back(vertex);
            if (const auto now = _cut.rank(_bounds); now < best) {
                best = now;
                kept = moved.size();
            }
        }
        for (auto i = moved.size(); i > kept; --i)
            flip(moved[i - 1]);
        return best < start;
    }

private:
    [[nodiscard]] std::uint32_t size_after(std::uint32_t vertex) const {
        return _cut.is_first[vertex] ? _cut.size - _graph.sizes[vertex] : _cut.size + _graph.sizes[vertex];
    }

    [[nodiscard]] std::uint32_t choose(const std::vector<bool>& is_locked) const {
        const auto miss = _bounds.miss(_cut.size);
        std::uint32_t best = unset;
        for (std::uint32_t v = 0; v < _graph.vertices(); ++v) {
            if (is_locked[v] || (best != unset && _gains[v] <= _gains[best]))
                continue;
            const auto then = _bounds.miss(size_after(v));
            if (miss == 0 ? then <= _slack : then < miss)
                best = v;
        }
        return best;
    }

    void flip(std::uint32_t vertex) {
        _cut.size = size_after(vertex);
        _cut.weight -= _gains[vertex];
        _cut.is_first[vertex] = !_cut.is_first[vertex];
        _gains[vertex] = -_gains[vertex];
        for (const auto& edge : _graph.edges[vertex])
            _gains[edge.to] +=
                _cut.is_first[edge.to] == _cut.is_first[vertex] ? -2 * edge.weight : 2 * edge.weight;
    }

    const Graph& _graph;
    const Bounds& _bounds;
    Cut& _cut;
    std::vector<std::int64_t> _gains; // by vertex: what the cut loses when it changes sides
    std::uint32_t _slack;
};

void refine(const Graph& graph, const Bounds& bounds, Cut& cut) {
    constexpr int most_passes = 12;
    Refinement refinement{graph, bounds, cut};
    for (int i = 0; i < most_passes && refinement.pass(); ++i) {
    }
}

// The first part grows from one vertex by whoever it has the most to say to.
Cut grow(const Graph& graph, std::uint32_t seed, std::uint32_t target) {
    std::vector<bool> is_first(graph.vertices(), false);
    std::vector<std::int64_t> pull(graph.vertices());
    std::uint32_t size = 0;
    for (auto next = target == 0 ? unset : seed; next != unset;) {
        is_first[next] = true;
        size += graph.sizes[next];
        for (const auto& edge : graph.edges[next])
            pull[edge.to] += edge.weight;
        next = unset;
        for (std::uint32_t v = 0; v < graph.vertices(); ++v)
            if (!is_first[v] && size + graph.sizes[v] <= target && (next == unset || pull[v] > pull[next]))
                next = v;
    }
    return measure(graph, std::move(is_first));
}

Cut cut_small(const Graph& graph, const Bounds& bounds, SplitMix64& numbers) {
    constexpr unsigned beginnings = 8;
    const auto all = std::accumulate(graph.sizes.begin(), graph.sizes.end(), std::uint32_t{0});
    const auto middle = std::clamp(all / 2, bounds.least, bounds.most);
    Cut best;
    for (unsigned i = 0; i < beginnings; ++i) {
        const auto target = i % 3 == 0 ? middle : i % 3 == 1 ? bounds.most : bounds.least;
        auto cut = grow(graph, static_cast<std::uint32_t>(numbers.below(graph.vertices())), target);
        refine(graph, bounds, cut);
        if (i == 0 || cut.rank(bounds) < best.rank(bounds))
            best = std::move(cut);
    }
    return best;
}

// By vertex, the coarse vertex that it becomes a part of: pairs along heavy edges.
struct Matching {
    std::vector<std::uint32_t> coarse;
    std::uint32_t vertices = 0;
};

Matching match(const Graph& graph, std::uint32_t most_size, SplitMix64& numbers) {
    std::vector<std::uint32_t> order(graph.vertices());
    std::iota(order.begin(), order.end(), 0U);
    shuffle(order, numbers);
    Matching matching{.coarse = std::vector<std::uint32_t>(graph.vertices(), unset)};
    // A lone vertex waits at the one that it is drawn to, for another that is: the leaves of a star.
    std::vector<std::uint32_t> waiting(graph.vertices(), unset);
    const auto fits = [&](std::uint32_t a, std::uint32_t b) {
        return graph.sizes[a] + graph.sizes[b] <= most_size;
    };
    for (const auto v : order) {
        if (matching.coarse[v] != unset)
            continue;
        std::uint32_t partner = unset, drawn_to = unset;
        double best = 0, strongest = 0;
        for (const auto& edge : graph.edges[v]) {
            const auto pull = static_cast<double>(edge.weight);
            if (pull > strongest) {
                strongest = pull;
                drawn_to = edge.to;
            }
            const auto value = pull / graph.sizes[edge.to];
            if (matching.coarse[edge.to] == unset && fits(v, edge.to) && value > best) {
                best = value;
                partner = edge.to;
            }
        }
        if (partner == unset && drawn_to != unset) {
            auto& other = waiting[drawn_to];
            if (other != unset && fits(v, other)) {
                matching.coarse[v] = matching.coarse[other];
                other = unset;
                continue;
            }
            other = v;
        }
        matching.coarse[v] = matching.vertices;
        if (partner != unset)
            matching.coarse[partner] = matching.vertices;
        ++matching.vertices;
    }
    return matching;
}

Graph contract(const Graph& graph, const Matching& matching) {
    Graph coarse{.edges = std::vector<std::vector<Graph::Edge>>(matching.vertices),
                 .sizes = std::vector<std::uint32_t>(matching.vertices)};
    std::vector<std::vector<std::uint32_t>> members(matching.vertices);
    for (std::uint32_t v = 0; v < graph.vertices(); ++v)
        members[matching.coarse[v]].push_back(v);
    std::vector<std::size_t> place(matching.vertices, ~std::size_t{0});
    for (std::uint32_t c = 0; c < matching.vertices; ++c) {
        auto& edges = coarse.edges[c];
        for (const auto v : members[c]) {
            coarse.sizes[c] += graph.sizes[v];
            for (const auto& edge : graph.edges[v]) {
                const auto to = matching.coarse[edge.to];
                if (to == c)
                    continue;
                if (place[to] == ~std::size_t{0}) {
                    place[to] = edges.size();
                    edges.push_back({.to = to, .weight = 0});
                }
                edges[place[to]].weight += edge.weight;
            }
        }
        for (const auto& edge : edges)
            place[edge.to] = ~std::size_t{0};
    }
    return coarse;
}

Cut cut_multilevel(const Graph& graph, const Bounds& bounds, std::uint32_t all, SplitMix64& numbers) {
    if (graph.vertices() > coarse_enough) {
        // Lumps larger than this leave no choice.
        const auto matching = match(graph, std::max(2U, all / 12), numbers);
        if (matching.vertices < graph.vertices() - graph.vertices() / 10) {
            const auto coarse = cut_multilevel(contract(graph, matching), bounds, all, numbers);
            std::vector<bool> is_first;
            for (const auto c : matching.coarse)
                is_first.push_back(coarse.is_first[c]);
            auto cut = measure(graph, std::move(is_first));
            refine(graph, bounds, cut);
            return cut;
        }
    }
    return cut_small(graph, bounds, numbers);
}

} // namespace

std::vector<bool> bisect(const Graph& graph, std::uint32_t least, std::uint32_t most, SplitMix64& numbers) {
    if (graph.vertices() == 0)
        return {};
    const auto all = std::accumulate(graph.sizes.begin(), graph.sizes.end(), std::uint32_t{0});
    const Bounds bounds{.least = least, .most = most};
    auto best = cut_multilevel(graph, bounds, all, numbers);
    // Each pair that is drawn for the coarser graph tells. Where edges are few, another try costs little;
    // where vertices are few, it seldom finds better.
    constexpr std::size_t edges_worth = 30'000, most_tries = 8, tries_of_small = 2;
    constexpr std::uint32_t small = 128; // vertices
    const auto edges = std::accumulate(graph.edges.begin(), graph.edges.end(), std::size_t{1},
                                       [](std::size_t sum, const auto& each) { return sum + each.size(); });
    for (auto tries = std::min(graph.vertices() <= small ? tries_of_small : most_tries, edges_worth / edges);
         tries > 1; --tries)
        if (auto again = cut_multilevel(graph, bounds, all, numbers); again.rank(bounds) < best.rank(bounds))
            best = std::move(again);
    return best.is_first;
}

} // namespace nestbed::topology::mapping
