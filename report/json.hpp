// The values of a run as JSON. docs/run.schema.json describes what comes out, docs/result-format.md explains
// it.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "report/run_result.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report {

// The whole document. Strings are taken as they are, so a guest's bytes may be no UTF-8: write it with dump()
// of json_file.hpp, which does not mind.
[[nodiscard]] nlohmann::ordered_json to_json(const RunResult& result);

// By column, one element per vCPU: numbers, and "pus" as the host's CPU lists ("" for any).
[[nodiscard]] nlohmann::ordered_json to_json(const topology::Plan& plan);

enum class PuList { omit, include };

// Counts, nodes and distances; with the PUs by column on request. Never the XML.
[[nodiscard]] nlohmann::ordered_json to_json(const topology::Host& host, PuList pus = PuList::omit);

// With the topology's XML.
[[nodiscard]] nlohmann::ordered_json to_json(const HostFacts& host);

[[nodiscard]] nlohmann::ordered_json to_json(const Error& error);

// One of the document's "checks".
[[nodiscard]] nlohmann::ordered_json to_json(const CheckResult& check);
// The same back, without its measurements. Errors: bad_input for what to_json() does not write.
[[nodiscard]] Result<CheckResult> check_from_json(const nlohmann::json& json);

// RFC 3339 in UTC, to the millisecond: "2026-11-22T03:11:04.250Z".
[[nodiscard]] std::string format_utc(std::chrono::system_clock::time_point time);

} // namespace nestbed::report
