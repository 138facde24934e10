#include "report/run_result.hpp"

#include <algorithm>
#include <utility>

namespace nestbed::report {

std::string_view program_version() {
    return NESTBED_VERSION;
}

std::string_view to_string(Outcome outcome) {
    switch (outcome) {
    case Outcome::passed:
        return "passed";
    case Outcome::failed:
        return "failed";
    case Outcome::bad_input:
        return "bad_input";
    case Outcome::host_lacks:
        return "host_lacks";
    case Outcome::cancelled:
        return "cancelled";
    case Outcome::deadline:
        return "deadline";
    }
    return "unknown";
}

std::optional<Outcome> parse_outcome(std::string_view word) {
    for (const auto outcome : {Outcome::passed, Outcome::failed, Outcome::bad_input, Outcome::host_lacks,
                               Outcome::cancelled, Outcome::deadline})
        if (to_string(outcome) == word)
            return outcome;
    return {};
}

Outcome outcome_of(ErrorKind kind) {
    switch (kind) {
    case ErrorKind::check_failed:
        return Outcome::failed;
    case ErrorKind::bad_input:
        return Outcome::bad_input;
    case ErrorKind::host_lacks:
        return Outcome::host_lacks;
    case ErrorKind::cancelled:
        return Outcome::cancelled;
    case ErrorKind::deadline:
        return Outcome::deadline;
    }
    return Outcome::failed;
}

int exit_code(Outcome outcome) {
    switch (outcome) {
    case Outcome::passed:
        return 0;
    case Outcome::failed:
        return nestbed::exit_code(ErrorKind::check_failed);
    case Outcome::bad_input:
        return nestbed::exit_code(ErrorKind::bad_input);
    case Outcome::host_lacks:
        return nestbed::exit_code(ErrorKind::host_lacks);
    case Outcome::cancelled:
        return nestbed::exit_code(ErrorKind::cancelled);
    case Outcome::deadline:
        return nestbed::exit_code(ErrorKind::deadline);
    }
    return nestbed::exit_code(ErrorKind::check_failed);
}

Measurement measure(std::string name, std::string unit, std::span<const double> samples, std::size_t warmup,
                    RawSamples raw) {
    Measurement measurement;
    measurement.name = std::move(name);
    measurement.summary = summarize(samples, std::move(unit), warmup);
    if (raw == RawSamples::keep)
        measurement.samples.assign(samples.begin(), samples.end());
    return measurement;
}

Outcome outcome_of(std::span<const CheckResult> checks) {
    const auto spoils = [](const CheckResult& check) { return is_bad(check.verdict) && check.known.empty(); };
    return std::any_of(checks.begin(), checks.end(), spoils) ? Outcome::failed : Outcome::passed;
}

} // namespace nestbed::report
