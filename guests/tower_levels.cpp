#include "guests/tower_levels.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "base/units.hpp"
#include "report/json.hpp"

namespace nestbed::guests {

namespace {

constexpr std::string_view prefix = "level";
constexpr std::uint64_t for_linux = 1 * GiB;
constexpr std::uint64_t for_next_linux =
    2 * GiB; // the kernel that it is given, decompressed, and its initramfs
constexpr std::uint64_t for_vcpu = 8 * MiB;
// The payload's checks take a second each; an emulated host may take many.
constexpr std::uint64_t longest_check_s = 300;

struct LevelName {
    unsigned level = 0;
    std::string_view rest;
};

// "level2.ipi.unicast" is 2 and "ipi.unicast".
std::optional<LevelName> parse_name(std::string_view name) {
    if (name.size() < prefix.size() + 3 || !name.starts_with(prefix) || name[prefix.size() + 1] != '.')
        return std::nullopt;
    const char digit = name[prefix.size()];
    if (digit < '0' || digit > '9')
        return std::nullopt;
    return LevelName{static_cast<unsigned>(digit - '0'), name.substr(prefix.size() + 2)};
}

std::string text_of(const nlohmann::json& json, const char* member) {
    const auto found = json.find(member);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

// What ended the run, as one line; empty where nothing did.
std::string error_of(const nlohmann::json& document) {
    const auto error = document.find("error");
    if (error == document.end() || !error->is_object())
        return {};
    return fmt::format("{}: {}", text_of(*error, "asked"), text_of(*error, "found"));
}

} // namespace

std::uint64_t level_memory(unsigned level, unsigned levels, std::uint32_t vcpus) {
    return for_linux + vcpus * for_vcpu + (level + 1 < levels ? levels - level - 1 : 0) * for_next_linux;
}

std::vector<std::string> command_at_level_1(unsigned levels, std::uint32_t vcpus, std::uint64_t seconds,
                                            const std::string& results) {
    const auto vcpu_text = fmt::format("{}", vcpus);
    if (levels <= fewest_levels)
        return {"validate",
                "--where",
                "host",
                "--vcpus",
                vcpu_text,
                "--timeout",
                fmt::format("{}", std::clamp<std::uint64_t>(seconds / 2, 1, longest_check_s)),
                "-o",
                results};
    return {"tower",
            "--levels",
            fmt::format("{}", levels - 1),
            "--vcpus",
            vcpu_text,
            "--timeout",
            fmt::format("{}", std::max<std::uint64_t>(seconds * 9 / 10, 1)),
            "-o",
            results};
}

Result<std::vector<report::CheckResult>> checks_of(const nlohmann::json& document, unsigned ran_at) {
    const auto list = document.is_object() ? document.find("checks") : document.end();
    if (!document.is_object() || list == document.end() || !list->is_array())
        return fail(ErrorKind::bad_input, fmt::format("read the result document of level {}", ran_at),
                    "it has no list of checks");
    const bool is_tower = text_of(document, "kind") == "tower";
    std::vector<report::CheckResult> checks;
    for (const auto& entry : *list) {
        auto check = report::check_from_json(entry);
        if (!check)
            return tl::unexpected{check.error()};
        const auto own = is_tower ? parse_name(check->name) : std::nullopt;
        check->name = printable(own ? fmt::format("{}{}.{}", prefix, ran_at + own->level, own->rest)
                                    : fmt::format("{}{}.{}", prefix, ran_at + 1, check->name));
        for (auto* const text :
             {&check->title, &check->reference, &check->summary, &check->reason, &check->known})
            *text = printable(*text);
        for (auto& line : check->details)
            line = printable(line);
        check->repeat.clear(); // there is no shell at that level
        checks.push_back(std::move(*check));
    }
    return checks;
}

report::CheckResult judge_command(const std::string& command, unsigned ran_at, int exit_code,
                                  const nlohmann::json& document) {
    report::CheckResult check;
    check.name = fmt::format("{}{}.command", prefix, ran_at);
    check.title = fmt::format("The command that level {} runs ends well", ran_at);
    check.summary = fmt::format("`nestbed {}` ended with exit code {}", command, exit_code);
    check.facts["exit_code"] = exit_code;
    const auto outcome = document.is_object() ? text_of(document, "outcome") : std::string{};
    const bool good = exit_code == 0 && outcome == "passed";
    check.verdict = good ? report::Verdict::pass : report::Verdict::fail;
    if (!document.is_object())
        check.details.emplace_back("it has left no result document");
    else if (!good)
        check.details.push_back(printable(fmt::format("its own word on the outcome: {}", outcome)));
    if (document.is_object())
        if (const auto error = error_of(document); !error.empty())
            check.details.push_back(printable(error));
    return check;
}

std::vector<LevelVerdict> verdicts_by_level(const std::vector<report::CheckResult>& checks) {
    std::map<unsigned, LevelVerdict> levels;
    for (const auto& check : checks)
        if (const auto name = parse_name(check.name)) {
            auto& level = levels[name->level];
            level.level = name->level;
            if (report::is_bad(check.verdict) && check.known.empty())
                ++level.failed;
            else if (check.verdict == report::Verdict::pass || report::is_bad(check.verdict))
                ++level.held;
            else
                ++level.not_judged;
        }
    std::vector<LevelVerdict> all;
    for (const auto& [number, level] : levels)
        all.push_back(level);
    return all;
}

} // namespace nestbed::guests
