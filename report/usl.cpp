#include "report/usl.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "report/normal_noise.hpp"

namespace nestbed::report {

namespace {

constexpr std::size_t unknowns = 3;
constexpr std::size_t fewest_counts = 3;
constexpr std::size_t fewest_samples = 5;

// N / X(N), the time that one operation of each vCPU takes, is linear in these: a + b (N - 1) + c N (N - 1),
// with a = 1 / lambda, b = sigma / lambda and c = kappa / lambda.
using Terms = std::array<double, unknowns>;

Terms terms_of(double vcpus) {
    return {1, vcpus - 1, vcpus * (vcpus - 1)};
}

double dot(const Terms& a, const Terms& b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// The linear equations of a least squares problem, each unknown in units that make the diagonal 1: N (N - 1)
// is a million times as large as 1.
struct NormalEquations {
    std::array<Terms, unknowns> matrix{};
    Terms right{};
    double squares = 0; // of the targets

    void add(const Terms& row, double target) {
        for (std::size_t i = 0; i < unknowns; ++i) {
            for (std::size_t j = 0; j < unknowns; ++j)
                matrix[i][j] += row[i] * row[j];
            right[i] += row[i] * target;
        }
        squares += target * target;
    }

    // Sum of squared residuals.
    [[nodiscard]] double cost(const Terms& x) const {
        double sum = squares;
        for (std::size_t i = 0; i < unknowns; ++i)
            sum += x[i] * (dot(matrix[i], x) - 2 * right[i]);
        return sum;
    }

    // With the unknowns that `is_free` leaves out at 0, by Gauss and Jordan's elimination.
    [[nodiscard]] std::optional<Terms> solve(const std::array<bool, unknowns>& is_free) const {
        auto left = matrix;
        auto x = right;
        Terms scale{};
        for (std::size_t i = 0; i < unknowns; ++i)
            scale[i] = matrix[i][i] > 0 ? 1 / std::sqrt(matrix[i][i]) : 0;
        for (std::size_t i = 0; i < unknowns; ++i) {
            for (std::size_t j = 0; j < unknowns; ++j)
                left[i][j] = is_free[i] && is_free[j] ? left[i][j] * scale[i] * scale[j] : i == j ? 1 : 0;
            x[i] = is_free[i] ? x[i] * scale[i] : 0;
        }
        for (std::size_t pivot = 0; pivot < unknowns; ++pivot) {
            // Positive definite, so no exchange of rows is needed. Less is noise of the arithmetic.
            constexpr double smallest = 1e-11;
            if (!(left[pivot][pivot] > smallest))
                return std::nullopt;
            for (std::size_t row = 0; row < unknowns; ++row) {
                if (row == pivot)
                    continue;
                const double factor = left[row][pivot] / left[pivot][pivot];
                for (std::size_t j = 0; j < unknowns; ++j)
                    left[row][j] -= factor * left[pivot][j];
                x[row] -= factor * x[pivot];
            }
        }
        for (std::size_t i = 0; i < unknowns; ++i)
            x[i] *= scale[i] / left[i][i];
        return x;
    }

    // The least cost where no unknown is negative. With three of them, all choices of those that are 0 are
    // tried; a problem like this one has its minimum at one of them.
    [[nodiscard]] std::optional<Terms> solve_nonnegative() const {
        std::optional<Terms> best;
        double best_cost = std::numeric_limits<double>::infinity();
        for (unsigned choice = 1; choice < 1U << unknowns; ++choice) {
            const auto x = solve({(choice & 1) != 0, (choice & 2) != 0, (choice & 4) != 0});
            if (!x || std::any_of(x->begin(), x->end(), [](double each) { return !(each >= 0); }))
                continue;
            if (const double its_cost = cost(*x); its_cost < best_cost) {
                best_cost = its_cost;
                best = x;
            }
        }
        return best;
    }
};

struct Row {
    Terms terms;
    double log_time = 0; // of N / X
};

double squared_error(std::span<const Row> rows, const Terms& x) {
    double sum = 0;
    for (const auto& row : rows)
        sum += std::pow(row.log_time - std::log(dot(row.terms, x)), 2);
    return sum;
}

bool is_usable(const Terms& x) {
    // a is 1 / lambda.
    return x[0] > 0 && std::all_of(x.begin(), x.end(), [](double each) { return std::isfinite(each); });
}

// Each row divided by its own time, so that relative errors count: near to the minimum already.
std::optional<Terms> start(std::span<const Row> rows) {
    NormalEquations equations;
    for (const auto& row : rows) {
        auto scaled = row.terms;
        for (auto& each : scaled)
            each *= std::exp(-row.log_time);
        equations.add(scaled, 1);
    }
    const auto x = equations.solve_nonnegative();
    return x && is_usable(*x) ? x : std::nullopt;
}

// Gauss and Newton's method with bounds: log t - log m(x) is linearised where x is, and since m is linear in
// x, the step's end, not only the step, is the unknown of a least squares problem with the bounds as they
// are.
std::optional<Terms> minimize(std::span<const Row> rows, Terms x) {
    double error = squared_error(rows, x);
    for (int round = 0; round < 50; ++round) {
        NormalEquations equations;
        for (const auto& row : rows) {
            const double model = dot(row.terms, x);
            auto scaled = row.terms;
            for (auto& each : scaled)
                each /= model;
            equations.add(scaled, 1 + row.log_time - std::log(model));
        }
        const auto end = equations.solve_nonnegative();
        if (!end)
            return std::nullopt;
        // Where the whole step overshoots, a part of it does not.
        double share = 1;
        bool is_better = false;
        for (int halving = 0; halving < 20 && !is_better; ++halving, share /= 2) {
            Terms tried{};
            for (std::size_t i = 0; i < unknowns; ++i)
                tried[i] = x[i] + share * ((*end)[i] - x[i]);
            if (!is_usable(tried))
                continue;
            const double tried_error = squared_error(rows, tried);
            if (tried_error < error) {
                is_better = error - tried_error > 1e-12 * error;
                error = tried_error;
                x = tried;
                if (!is_better)
                    return x;
            }
        }
        if (!is_better)
            return x;
    }
    return x;
}

std::optional<Terms> fit_rows(std::span<const Row> rows) {
    const auto first = start(rows);
    return first ? minimize(rows, *first) : std::nullopt;
}

// How much wider than the residuals say the noise may be, when it is known from `freedom` degrees of freedom:
// with it, what a trial gives for a linear unknown has Student's distribution.
double students_allowance(NormalNoise& noise, std::size_t freedom) {
    constexpr std::size_t as_good_as_known = 200;
    if (freedom > as_good_as_known)
        return 1;
    double chi_squared = 0;
    for (std::size_t i = 0; i < freedom; ++i)
        chi_squared += std::pow(noise.next(), 2);
    return std::sqrt(static_cast<double>(freedom) / chi_squared);
}

// `values` of one unknown from all trials.
Interval middle_95(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return {.low = *percentile(values, 2.5), .high = *percentile(values, 97.5)};
}

struct Trials {
    std::vector<double> lambda, sigma, kappa, knee;
};

Trials try_again(std::vector<Row> rows, const Terms& fitted, double deviation, const UslOptions& options) {
    const auto freedom = rows.size() - unknowns;
    NormalNoise noise{options.seed};
    Trials trials;
    for (unsigned trial = 0; trial < options.trials; ++trial) {
        const double scale = deviation * students_allowance(noise, freedom);
        for (auto& row : rows)
            row.log_time = std::log(dot(row.terms, fitted)) + scale * noise.next();
        const auto x = fit_rows(rows);
        if (!x)
            continue;
        const double sigma = (*x)[1] / (*x)[0], kappa = (*x)[2] / (*x)[0];
        trials.lambda.push_back(1 / (*x)[0]);
        trials.sigma.push_back(sigma);
        trials.kappa.push_back(kappa);
        trials.knee.push_back(usl_knee(sigma, kappa).value_or(std::numeric_limits<double>::infinity()));
    }
    return trials;
}

double r_squared_of(std::span<const Row> rows, double squares) {
    // Of the logarithm of the throughput.
    double mean = 0, spread = 0;
    const auto log_throughput = [](const Row& row) { return std::log(row.terms[1] + 1) - row.log_time; };
    for (const auto& row : rows)
        mean += log_throughput(row) / static_cast<double>(rows.size());
    for (const auto& row : rows)
        spread += std::pow(log_throughput(row) - mean, 2);
    return 1 - squares / spread;
}

} // namespace

double usl_throughput(double lambda, double sigma, double kappa, double vcpus) {
    return lambda * vcpus / (1 + sigma * (vcpus - 1) + kappa * vcpus * (vcpus - 1));
}

std::optional<double> usl_knee(double sigma, double kappa) {
    if (!(kappa > 0))
        return std::nullopt;
    return sigma < 1 ? std::max(1.0, std::sqrt((1 - sigma) / kappa)) : 1.0;
}

std::optional<double> knee_not_excluded(const UslFit& fit) {
    if (fit.knee)
        return std::nullopt;
    return usl_knee(fit.sigma.value, fit.kappa.ci95.high);
}

UslFit fit_usl(std::span<const UslSample> samples, UslOptions options) {
    std::vector<Row> rows;
    std::set<double> counts;
    for (const auto& [vcpus, throughput] : samples) {
        if (!(vcpus >= 1) || !(throughput > 0) || !std::isfinite(vcpus) || !std::isfinite(throughput))
            continue;
        rows.push_back({.terms = terms_of(vcpus), .log_time = std::log(vcpus / throughput)});
        counts.insert(vcpus);
    }
    UslFit fit;
    fit.points = rows.size();
    if (counts.size() < fewest_counts) {
        fit.why_not = fmt::format("a curve needs {} vCPU counts, {} {} measured", fewest_counts,
                                  counts.size(), counts.size() == 1 ? "was" : "were");
        return fit;
    }
    if (rows.size() < fewest_samples) {
        fit.why_not =
            fmt::format("{} points leave too little to tell the noise by, which takes {}; more vCPU "
                        "counts or repetitions help",
                        rows.size(), fewest_samples);
        return fit;
    }
    const auto x = fit_rows(rows);
    if (!x) {
        fit.why_not = "what one vCPU does alone cannot be told from these vCPU counts; measure smaller ones";
        return fit;
    }
    const double squares = squared_error(rows, *x);
    const double deviation = std::sqrt(squares / static_cast<double>(rows.size() - unknowns));
    const auto trials = try_again(rows, *x, deviation, options);
    if (trials.lambda.size() < options.trials * 9 / 10 || trials.lambda.empty()) {
        fit.why_not = "the noise is too large for any bounds on the coefficients; repeat more often";
        return fit;
    }
    fit.lambda = {.value = 1 / (*x)[0], .ci95 = middle_95(trials.lambda)};
    fit.sigma = {.value = (*x)[1] / (*x)[0], .ci95 = middle_95(trials.sigma)};
    fit.kappa = {.value = (*x)[2] / (*x)[0], .ci95 = middle_95(trials.kappa)};
    if (const auto knee = usl_knee(fit.sigma.value, fit.kappa.value))
        fit.knee = UslCoefficient{.value = *knee, .ci95 = middle_95(trials.knee)};
    fit.r_squared = r_squared_of(rows, squares);
    return fit;
}

std::vector<UslFit> fit_sweep(std::span<const SweepPoint> points, UslOptions options,
                              const NotParallel& not_parallel) {
    struct Group {
        const SweepPoint* first;
        std::vector<UslSample> samples;
    };
    std::vector<Group> groups;
    for (const auto& point : points) {
        auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& each) {
            return each.first->driver == point.driver && each.first->configuration == point.configuration;
        });
        if (group == groups.end())
            group = groups.insert(group, {.first = &point, .samples = {}});
        if (const auto speed = throughput(point); speed && point.verdict == Verdict::pass)
            group->samples.push_back({.vcpus = static_cast<double>(point.vcpus), .throughput = *speed});
    }
    std::vector<UslFit> fits;
    for (const auto& group : groups) {
        const auto why_not = not_parallel.find(group.first->driver);
        auto fit = why_not == not_parallel.end() ? fit_usl(group.samples, options) : UslFit{};
        if (why_not != not_parallel.end()) {
            fit.points = group.samples.size();
            fit.why_not = why_not->second;
        }
        fit.driver = group.first->driver;
        fit.configuration = group.first->configuration;
        fits.push_back(std::move(fit));
    }
    return fits;
}

} // namespace nestbed::report
