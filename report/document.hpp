// Documents that runs have left, read back. They may come from anywhere: sizes, depth and counts are bounded,
// and every member is checked before it is used.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::report {

// Of `bench`: samples of nestbed and of what it is compared with. docs/bench.schema.json says more.
struct BenchSummary {
    std::uint64_t count = 0;
    double min = 0;
    double median = 0;
    double max = 0;
};

struct BenchFigure {
    std::string name; // "bringup/floor"
    std::string what;
    std::string unit; // of `ours` and `other`
    BenchSummary ours;
    std::optional<BenchSummary> other;
    std::optional<BenchSummary> ratio; // there where `other` is
    bool at_most = true;               // the target is an upper bound
    double target = 0;
    bool holds = false;
};

// What one file holds: a run of any kind, or the figures of `bench`, which are no run.
struct Document {
    std::string name; // the file's, for people
    // Of a run. Of a document of `bench`: the version, "bench" as the kind, the kernel and the CPU. The
    // host's topology has no PUs but those that the document lists; its XML is kept.
    RunResult run;
    std::vector<BenchFigure> figures;
};

// `name` is for errors and for people. Errors: bad_input with the member and what was found there.
[[nodiscard]] Result<Document> parse_document(std::string_view text, std::string name);

// Errors: those of parse_document(), and bad_input for a file that cannot be read or is larger than 256 MiB.
[[nodiscard]] Result<Document> read_document(const std::string& path);

// Text as JSON. Errors: bad_input for what is none, is nested deeper than 64 levels, or has more than
// 16 million values.
[[nodiscard]] Result<nlohmann::json> parse_bounded_json(std::string_view text, const std::string& name);

// format_utc() backwards; empty for anything that it does not write.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_utc(std::string_view text);

} // namespace nestbed::report
