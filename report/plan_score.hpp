// What plans are worth, as text and as JSON; docs/planning.md explains the figures.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "topology/host.hpp"
#include "topology/plan.hpp"
#include "topology/score.hpp"

namespace nestbed::report {

struct ScoredPlan {
    topology::Plan plan;
    topology::Score score;
};

// docs/planning.md names the members.
[[nodiscard]] nlohmann::ordered_json to_json(const topology::Score& score);
[[nodiscard]] nlohmann::ordered_json to_json(const topology::Alternative& alternative);

// A line for each figure.
[[nodiscard]] std::string format_score(const topology::Score& score, const std::string& traffic);

// A table, the best first.
[[nodiscard]] std::string format_comparison(const std::vector<ScoredPlan>& plans, const std::string& traffic);

// A line for each vCPU: where it is and why, and what its second-best place would cost. `alternatives` is by
// vCPU, or empty where nothing is known of them.
[[nodiscard]] std::string format_explanation(const topology::Plan& plan,
                                             const std::vector<topology::Alternative>& alternatives,
                                             const std::string& traffic);

} // namespace nestbed::report
