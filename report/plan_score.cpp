#include "report/plan_score.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/ranges.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

double mean_locality(const topology::Score& score) {
    if (score.memory_locality.empty())
        return 0;
    return std::accumulate(score.memory_locality.begin(), score.memory_locality.end(), 0.0) /
           static_cast<double>(score.memory_locality.size());
}

std::string percent(double share) {
    return fmt::format("{:.0f} %", 100 * share);
}

std::string second_best(const topology::Alternative& other) {
    if (!other.pu)
        return "there is no other place";
    const auto change =
        other.change == 0 ? std::string{"as good"} : fmt::format("{:+.3f} % of all cost", 100 * other.change);
    return other.partner
               ? fmt::format("PU {} in exchange with vCPU {}: {}", *other.pu, *other.partner, change)
               : fmt::format("PU {}: {}", *other.pu, change);
}

} // namespace

Json to_json(const topology::Score& score) {
    Json json{{"pairs", nullptr}};
    if (score.pairs)
        json["pairs"] = {{"mean_cost", score.pairs->mean_cost},
                         {"mean_numa_distance", score.pairs->mean_numa_distance},
                         {"worst_numa_distance", score.pairs->worst_numa_distance},
                         {"shared_llc", score.pairs->shared_llc},
                         {"shared_core", score.pairs->shared_core}};
    json["memory_locality"] = score.memory_locality;
    json["max_vcpus_per_pu"] = score.max_vcpus_per_pu;
    json["mean_vcpus_per_pu"] = score.mean_vcpus_per_pu;
    json["stranded_cores"] = score.stranded_cores;
    return json;
}

Json to_json(const topology::Alternative& alternative) {
    const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
    return {{"share", alternative.share},
            {"change", alternative.change},
            {"pu", or_null(alternative.pu)},
            {"partner", or_null(alternative.partner)}};
}

std::string format_score(const topology::Score& score, const std::string& traffic) {
    auto text = fmt::format("\nScore for traffic {}\n", traffic);
    if (score.pairs)
        text += fmt::format("  mean cost {:.2f}, mean NUMA distance {:.1f}, worst {}\n"
                            "  {} of the traffic stays in a last-level cache, {} in a core\n",
                            score.pairs->mean_cost, score.pairs->mean_numa_distance,
                            score.pairs->worst_numa_distance, percent(score.pairs->shared_llc),
                            percent(score.pairs->shared_core));
    else
        text += "  nothing is known of pairs: a vCPU may run on several PUs\n";
    text += fmt::format("  {} of vCPUs beside their memory, by virtual node", percent(mean_locality(score)));
    if (score.max_vcpus_per_pu > 0)
        text += fmt::format("\n  {:.2f} vCPUs a PU used, {} at most; {} core{} idle while others are shared",
                            score.mean_vcpus_per_pu, score.max_vcpus_per_pu, score.stranded_cores,
                            score.stranded_cores == 1 ? "" : "s");
    return text + '\n';
}

std::string format_comparison(const std::vector<ScoredPlan>& plans, const std::string& traffic) {
    std::vector<topology::Score> scores;
    std::size_t widest = 6;
    for (const auto& [plan, score] : plans) {
        scores.push_back(score);
        widest = std::max(widest, to_string(plan.policy).size());
    }
    auto text = fmt::format("Traffic {}; cost as docs/planning.md counts it, the best first\n\n"
                            "  {:<{}}  {:>9}  {:>9}  {:>5}  {:>6}  {:>6}  {:>6}  {:>9}  {:>8}\n",
                            traffic, "policy", widest, "mean cost", "mean NUMA", "worst", "LLC", "core",
                            "memory", "vCPUs/PU", "stranded");
    for (const auto i : topology::rank(scores)) {
        const auto& score = scores[i];
        const auto name = to_string(plans[i].plan.policy);
        const auto load =
            score.max_vcpus_per_pu == 0 ? std::string{"any"} : fmt::format("{}", score.max_vcpus_per_pu);
        if (!score.pairs)
            text += fmt::format("  {:<{}}  {:>9}  {:>9}  {:>5}  {:>6}  {:>6}  {:>6}  {:>9}  {:>8}\n", name,
                                widest, "?", "?", "?", "?", "?", percent(mean_locality(score)), load, "?");
        else
            text += fmt::format("  {:<{}}  {:>9.2f}  {:>9.1f}  {:>5}  {:>6}  {:>6}  {:>6}  {:>9}  {:>8}\n",
                                name, widest, score.pairs->mean_cost, score.pairs->mean_numa_distance,
                                score.pairs->worst_numa_distance, percent(score.pairs->shared_llc),
                                percent(score.pairs->shared_core), percent(mean_locality(score)), load,
                                score.stranded_cores);
    }
    return text;
}

std::string format_explanation(const topology::Plan& plan,
                               const std::vector<topology::Alternative>& alternatives,
                               const std::string& traffic) {
    auto text =
        fmt::format("\nWhy each vCPU is where it is, and the second-best choice for traffic {}\n", traffic);
    for (const auto& vcpu : plan.vcpus) {
        text += fmt::format("  vCPU {}: {}. {}\n", vcpu.vcpu,
                            vcpu.pus.empty() ? "any PU" : "PU " + format_ranges(vcpu.pus), vcpu.reason);
        if (vcpu.vcpu < alternatives.size())
            text += fmt::format("    {:.2f} % of all cost is its; {}\n", 100 * alternatives[vcpu.vcpu].share,
                                second_best(alternatives[vcpu.vcpu]));
    }
    return text;
}

} // namespace nestbed::report
