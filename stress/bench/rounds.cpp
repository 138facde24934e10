#include "stress/bench/rounds.hpp"

#include <algorithm>

namespace nestbed::bench {

Status Rounds::status() const {
    if (error)
        return tl::unexpected{*error};
    return {};
}

Rounds take_in_turn(unsigned rounds, std::span<const Sampler> samplers,
                    const std::function<void(unsigned)>& announce) {
    Rounds taken;
    taken.samples.resize(samplers.size());
    for (unsigned round = 1; round <= rounds; ++round) {
        announce(round);
        for (std::size_t i = 0; i < samplers.size(); ++i) {
            const auto sample = samplers[i]();
            if (!sample) {
                taken.error = sample.error();
                return taken;
            }
            taken.samples[i].push_back(*sample);
        }
    }
    return taken;
}

std::vector<double> pairwise_ratios(std::span<const double> a, std::span<const double> b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        ratios.push_back(a[i] / b[i]);
    return ratios;
}

} // namespace nestbed::bench
