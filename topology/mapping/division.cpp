#include "topology/mapping/division.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>

#include "topology/mapping/bisection.hpp"

namespace nestbed::topology::mapping {

namespace {

using Numbers = std::vector<std::uint32_t>;

class Division {
public:
    Division(const Problem& problem, Filling filling, std::uint32_t blur, SplitMix64& numbers)
        : _problem{problem}, _filling{filling}, _numbers{numbers}, _pus(problem.vcpus),
          _local(problem.vcpus, absent) {
        for (std::uint32_t vcpu = 0; vcpu < problem.vcpus; ++vcpu)
            _loudness.push_back(256 - blur + static_cast<std::uint32_t>(numbers.below(2 * blur + 1)));
    }

    void assign(const Numbers& vcpus, std::span<const Unit> units) {
        if (vcpus.empty())
            return;
        if (units.size() == 1) {
            if (!units[0].children.empty())
                return assign(vcpus, units[0].children);
            for (const auto vcpu : vcpus)
                _pus[vcpu] = units[0].pus[0];
            return;
        }
        const auto middle = split_point(units);
        const auto first = units.first(middle);
        const auto second = units.subspan(middle);
        Numbers into_first, into_second;
        const auto is_first = choose(vcpus, count(first), count(second));
        for (std::size_t i = 0; i < vcpus.size(); ++i)
            (is_first[i] ? into_first : into_second).push_back(vcpus[i]);
        assign(into_first, first);
        assign(into_second, second);
    }

    [[nodiscard]] Numbers take() && { return std::move(_pus); }

private:
    static constexpr std::uint32_t absent = ~0U;

    static std::uint32_t count(std::span<const Unit> units) {
        std::size_t sum = 0;
        for (const auto& unit : units)
            sum += unit.pus.size();
        return static_cast<std::uint32_t>(sum);
    }

    // Where both sides have about as many PUs, between the first unit and the last.
    static std::size_t split_point(std::span<const Unit> units) {
        const auto all = count(units);
        std::size_t before = 0, middle = 0;
        while (middle + 1 < units.size() && (before + units[middle].pus.size() / 2) * 2 < all)
            before += units[middle++].pus.size();
        return std::max<std::size_t>(middle, 1);
    }

    std::vector<bool> choose(const Numbers& vcpus, std::uint32_t first_pus, std::uint32_t second_pus) {
        const auto all = static_cast<std::uint32_t>(vcpus.size());
        const auto base = _problem.base_load();
        const auto ceiling = base + (_problem.extra() > 0 ? 1 : 0);
        const auto room_beside = second_pus * ceiling;
        auto least = std::max(first_pus * base, all > room_beside ? all - room_beside : 0);
        auto most = std::min(first_pus * ceiling, all - second_pus * base);
        if (_filling == Filling::even) {
            const auto share =
                static_cast<std::uint32_t>(std::uint64_t{all} * first_pus / (first_pus + second_pus));
            least = std::max(least, share);
            most = std::min(most, share + 1);
        }
        if (least == all || (_filling == Filling::tight && most == all))
            return std::vector<bool>(all, true);
        if (most == 0)
            return std::vector<bool>(all, false);
        return bisect(part_of(vcpus), least, most, _numbers);
    }

    Graph part_of(const Numbers& vcpus) {
        for (std::uint32_t i = 0; i < vcpus.size(); ++i)
            _local[vcpus[i]] = i;
        Graph graph{.edges = std::vector<std::vector<Graph::Edge>>(vcpus.size()),
                    .sizes = Numbers(vcpus.size(), 1)};
        for (std::uint32_t i = 0; i < vcpus.size(); ++i)
            for (const auto& edge : _problem.edges[vcpus[i]])
                if (_local[edge.to] != absent)
                    graph.edges[i].push_back(
                        {.to = _local[edge.to],
                         .weight = std::int64_t{edge.weight} * _loudness[vcpus[i]] * _loudness[edge.to]});
        for (const auto vcpu : vcpus)
            _local[vcpu] = absent;
        return graph;
    }

    const Problem& _problem;
    Filling _filling;
    SplitMix64& _numbers;
    Numbers _pus;      // by vCPU
    Numbers _local;    // by vCPU: its position among those looked at
    Numbers _loudness; // by vCPU: 256 for one that is heard as it is
};

} // namespace

std::vector<std::uint32_t> divide(const Problem& problem, const Unit& tree, Filling filling,
                                  std::uint32_t blur, SplitMix64& numbers) {
    Numbers all(problem.vcpus);
    std::iota(all.begin(), all.end(), 0U);
    Division division{problem, filling, blur, numbers};
    division.assign(all, {&tree, 1});
    return std::move(division).take();
}

} // namespace nestbed::topology::mapping
