// The Universal Scalability Law (N. J. Gunther, Guerrilla Capacity Planning, chapter 4) fitted to what a
// sweep measured.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/sweep.hpp"

namespace nestbed::report {

struct UslSample {
    double vcpus = 1;
    double throughput = 0; // operations per second
};

struct UslOptions {
    std::uint64_t seed = 1; // of the noise that the intervals come from
    unsigned trials = 1000;
};

// Least squares of the logarithm of the throughput, which weighs all vCPU counts alike as noise is usually in
// proportion to what is measured; lambda > 0, sigma >= 0 and kappa >= 0. The intervals are those of a
// parametric bootstrap: the fitted curve with noise as large as the residuals, fitted again `trials` times,
// with Student's allowance for noise that is known from few points. An interval's high end is infinite where
// the data do not exclude it. Says why there is no fit: fewer than 3 vCPU counts, fewer than 5 samples, or no
// sample that bounds lambda. Samples that are no positive numbers are left out.
[[nodiscard]] UslFit fit_usl(std::span<const UslSample> samples, UslOptions options = {});

// By driver, why its throughput is not the work of all vCPUs at once: the law says nothing about it.
using NotParallel = std::map<std::string, std::string>;

// One fit for each driver and configuration, in the order of their first points, to the points that passed;
// those that are not parallel say why there is none.
[[nodiscard]] std::vector<UslFit> fit_sweep(std::span<const SweepPoint> points, UslOptions options = {},
                                            const NotParallel& not_parallel = {});

[[nodiscard]] double usl_throughput(double lambda, double sigma, double kappa, double vcpus);

// vCPUs of the greatest throughput, 1 or more; empty where it grows without end.
[[nodiscard]] std::optional<double> usl_knee(double sigma, double kappa);

// Of a fit without a knee: the fewest vCPUs where the bounds of kappa still allow one; empty where they allow
// none.
[[nodiscard]] std::optional<double> knee_not_excluded(const UslFit& fit);

} // namespace nestbed::report
