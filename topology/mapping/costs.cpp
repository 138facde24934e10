#include "topology/mapping/costs.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "topology/host_distances.hpp"

namespace nestbed::topology::mapping {

namespace {

// Dense numbers for pairs of a number and the unit around it, as they come.
class Numbering {
public:
    std::uint32_t operator()(std::uint32_t around, std::uint32_t number) {
        return _numbers.try_emplace({around, number}, static_cast<std::uint32_t>(_numbers.size()))
            .first->second;
    }
    [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(_numbers.size()); }

private:
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> _numbers;
};

} // namespace

Costs::Costs(const Host& host, const UsableHost& usable) {
    Numbering nodes, packages, llcs, cores;
    std::vector<std::uint32_t> host_nodes;
    for (const auto pu : usable.pus) {
        const auto& at = host.pus[pu];
        Site site;
        site.node = nodes(0, usable.home[pu]);
        site.package = packages(site.node, at.package);
        site.llc = llcs(site.package, at.llc);
        site.core = cores(site.llc, at.core);
        if (site.node == host_nodes.size())
            host_nodes.push_back(usable.home[pu]);
        _sites.push_back(site);
    }
    _nodes = nodes.size();
    _packages = packages.size();
    _llcs = llcs.size();
    _cores = cores.size();
    for (const auto a : host_nodes)
        for (const auto b : host_nodes)
            _between_nodes.push_back(
                a == b ? other_package
                       : std::max(other_package,
                                  (distance_between(host, a, b) + distance_between(host, b, a) + 1) / 2));
}

} // namespace nestbed::topology::mapping
