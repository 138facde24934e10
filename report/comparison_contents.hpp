// What a document has that can be compared, by what it is called.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "report/document.hpp"
#include "report/verdict.hpp"

namespace nestbed::report {

struct Judged {
    Verdict verdict = Verdict::not_run;
    bool is_known = false; // expected, and counts as held
    std::string summary;
    std::string repeat;
    std::uint64_t points = 1, bad = 0; // repetitions, and how many of them did not hold
};

struct Repetitions {
    std::string unit;
    std::vector<double> values;
};

struct Contents {
    std::map<std::string, Judged> verdicts;
    std::map<std::pair<std::string, std::string>, Repetitions> repetitions; // by subject and name
    std::map<std::pair<std::string, std::string>, const Measurement*> measurements;
    std::map<std::string, const BenchFigure*> figures;
};

// How far a verdict is from what it should be: 0 for pass.
[[nodiscard]] int badness(Verdict verdict);

// Points into the document, which outlives it.
[[nodiscard]] Contents contents_of(const Document& document);

} // namespace nestbed::report
