// Samples of several programs, taken in turn, so that what disturbs one disturbs the others as well.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"

namespace nestbed::bench {

using Sampler = std::function<Result<double>()>;

struct Rounds {
    std::vector<std::vector<double>> samples; // by sampler; those of one may be one fewer
    std::optional<Error> error;               // what ended them early

    [[nodiscard]] Status status() const;
};

// Calls each sampler once a round, `announce` before each round with its number from 1. The first Error ends
// it; the samples before it stay.
[[nodiscard]] Rounds take_in_turn(unsigned rounds, std::span<const Sampler> samplers,
                                  const std::function<void(unsigned)>& announce);

// a[i] / b[i] for as many as there are of both.
[[nodiscard]] std::vector<double> pairwise_ratios(std::span<const double> a, std::span<const double> b);

} // namespace nestbed::bench
