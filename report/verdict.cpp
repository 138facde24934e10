#include "report/verdict.hpp"

namespace nestbed::report {

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
    case Verdict::pass:
        return "pass";
    case Verdict::fail:
        return "fail";
    case Verdict::skipped:
        return "skipped";
    case Verdict::not_run:
        return "not_run";
    case Verdict::hang:
        return "hang";
    case Verdict::crash:
        return "crash";
    case Verdict::not_applicable:
        return "not_applicable";
    }
    return "unknown";
}

std::optional<Verdict> parse_verdict(std::string_view word) {
    for (const auto verdict : {Verdict::pass, Verdict::fail, Verdict::skipped, Verdict::not_run,
                               Verdict::hang, Verdict::crash, Verdict::not_applicable})
        if (to_string(verdict) == word)
            return verdict;
    return {};
}

bool is_bad(Verdict verdict) {
    return verdict != Verdict::pass && verdict != Verdict::skipped && verdict != Verdict::not_applicable;
}

} // namespace nestbed::report
