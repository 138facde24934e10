#include "report/openmetrics.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace nestbed::report {

namespace {

// OpenMetrics 1.0.0, "ABNF": letters, digits, '_' and, for recording rules alone, ':'.
std::string name_of(std::string_view text) {
    std::string name;
    for (const char letter : text)
        name += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name.front())) != 0)
        name.insert(name.begin(), '_');
    return name;
}

std::string escaped(std::string_view text) {
    std::string safe;
    for (const char letter : text) {
        if (letter == '\\' || letter == '"')
            safe += '\\';
        if (letter == '\n')
            safe += "\\n";
        else
            safe += letter;
    }
    return safe;
}

std::string number(double value) {
    if (std::isnan(value))
        return "NaN";
    if (std::isinf(value))
        return value > 0 ? "+Inf" : "-Inf";
    return fmt::format("{}", value);
}

// Base units: seconds and bytes. Empty factor: the value stays as it is.
struct Unit {
    std::string name;
    double factor = 0; // 0: none
};

// KVM's "ns", "us*10^3": a unit and perhaps a power; only those that are plain times are converted.
Unit unit_of(const std::string& unit) {
    if (unit == "ns")
        return {.name = "seconds", .factor = 1e-9};
    if (unit == "us")
        return {.name = "seconds", .factor = 1e-6};
    if (unit == "ms")
        return {.name = "seconds", .factor = 1e-3};
    if (unit == "s")
        return {.name = "seconds", .factor = 1};
    if (unit == "bytes")
        return {.name = "bytes", .factor = 0};
    return {.name = {}, .factor = 0};
}

class Family {
public:
    Family(std::string& text, const std::string& prefix, const std::string& statistic,
           const std::string& unit, bool is_cumulative)
        : _text{text}, _unit{unit_of(unit)} {
        auto family = prefix + name_of(statistic);
        // A counter's samples carry the suffix and its family does not; the unit comes before it.
        constexpr std::string_view total = "_total";
        if (is_cumulative && family.ends_with(total))
            family.resize(family.size() - total.size());
        if (!_unit.name.empty() && !family.ends_with("_" + _unit.name))
            family += "_" + _unit.name;
        _text += fmt::format("# TYPE {} {}\n", family, is_cumulative ? "counter" : "gauge");
        if (!_unit.name.empty())
            _text += fmt::format("# UNIT {} {}\n", family, _unit.name);
        _text += fmt::format("# HELP {} {} of KVM's binary statistics.\n", family, escaped(statistic));
        _sample = is_cumulative ? family + std::string{total} : family;
    }

    void add(const std::string& labels, std::uint64_t value) {
        _text += fmt::format("{}{} {}\n", _sample, labels,
                             _unit.factor == 0 ? fmt::format("{}", value)
                                               : number(static_cast<double>(value) * _unit.factor));
    }

private:
    std::string& _text;
    Unit _unit;
    std::string _sample;
};

std::string labels_of(const std::map<std::string, std::string>& labels) {
    std::string text;
    for (const auto& [name, value] : labels)
        text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", name_of(name), escaped(value));
    return text.empty() ? text : "{" + text + "}";
}

} // namespace

std::vector<std::string> cumulative_names(const kvm::StatisticsLayout& layout) {
    std::vector<std::string> names;
    for (const auto& entry : layout.entries)
        // A histogram's buckets are counts as well, and their sum is what is kept of it.
        if (entry.kind == "cumulative" || entry.kind == "linear_histogram" || entry.kind == "log_histogram")
            names.push_back(entry.name);
    return names;
}

std::string to_openmetrics(const KvmStatistics& statistics, const std::vector<std::string>& cumulative,
                           const std::vector<Gauge>& gauges) {
    std::string text;
    const auto grows = [&](const std::string& name) {
        return std::find(cumulative.begin(), cumulative.end(), name) != cumulative.end();
    };
    for (const auto& [name, stat] : statistics.vcpu) {
        Family family{text, "kvm_vcpu_", name, stat.unit, grows(name)};
        for (std::size_t vcpu = 0; vcpu < stat.values.size(); ++vcpu)
            family.add(fmt::format("{{vcpu=\"{}\"}}", vcpu), stat.values[vcpu]);
    }
    for (const auto& [name, stat] : statistics.vm)
        Family{text, "kvm_vm_", name, stat.unit, grows(name)}.add("", stat.value);
    // A family's samples have to stand together.
    std::map<std::string, std::vector<const Gauge*>> families;
    for (const auto& gauge : gauges)
        families[name_of(gauge.name)].push_back(&gauge);
    for (const auto& [name, members] : families) {
        text += fmt::format("# TYPE {0} gauge\n# HELP {0} {1}\n", name, escaped(members.front()->help));
        for (const auto* gauge : members)
            text += fmt::format("{}{} {}\n", name, labels_of(gauge->labels), number(gauge->value));
    }
    return text + "# EOF\n";
}

} // namespace nestbed::report
