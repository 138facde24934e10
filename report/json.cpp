#include "report/json.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "report/place_comparison_json.hpp"
#include "report/stats_json.hpp"
#include "report/sweep_json.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

Json known(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

template<typename T>
Json or_null(const std::optional<T>& value) {
    return value ? Json(*value) : Json(nullptr);
}

// One array of what `field` gives for each element: a column of a table.
template<typename Rows, typename Field>
Json column(const Rows& rows, Field field) {
    auto values = Json::array();
    for (const auto& row : rows)
        values.push_back(field(row));
    return values;
}

Json to_json(const topology::Shape& shape) {
    return {
        {"sockets", shape.sockets}, {"dies", shape.dies}, {"cores", shape.cores}, {"threads", shape.threads}};
}

Json to_json(const Measurement& measurement) {
    Json json{{"name", measurement.name}};
    json.update(to_json(measurement.summary));
    if (!measurement.samples.empty())
        json["samples"] = column(measurement.samples, number);
    return json;
}

Json check_json(const CheckResult& check) {
    Json json{{"name", check.name},
              {"title", check.title},
              {"verdict", to_string(check.verdict)},
              {"seconds", number(check.seconds)},
              {"summary", check.summary}};
    if (!check.reason.empty())
        json["reason"] = check.reason;
    if (!check.reference.empty())
        json["reference"] = check.reference;
    if (!check.known.empty())
        json["known"] = check.known;
    json["details"] = check.details;
    json["repeat"] = check.repeat;
    json["measurements"] = column(check.measurements, [](const Measurement& m) { return to_json(m); });
    json["facts"] = check.facts;
    return json;
}

Json to_json(const MachineFacts& machine) {
    return {{"vcpus", machine.vcpus},
            {"shape", to_json(machine.shape)},
            {"memory_bytes", machine.memory_bytes},
            {"page_size", topology::to_string(machine.page_size)}};
}

Json to_json(const KvmStatistics& statistics) {
    Json json{{"vcpu", Json::object()}, {"vm", Json::object()}};
    for (const auto& [name, stat] : statistics.vcpu)
        json["vcpu"][name] = {{"unit", stat.unit}, {"values", stat.values}};
    for (const auto& [name, stat] : statistics.vm)
        json["vm"][name] = {{"unit", stat.unit}, {"value", stat.value}};
    return json;
}

// Many vCPUs share a reason; in the order of its first vCPU.
Json grouped_reasons(const std::vector<topology::VcpuPlacement>& placements) {
    std::vector<std::string> order;
    std::map<std::string, std::vector<std::uint32_t>> vcpus;
    for (const auto& placement : placements) {
        auto& group = vcpus[placement.reason];
        if (group.empty())
            order.push_back(placement.reason);
        group.push_back(placement.vcpu);
    }
    return column(order, [&](const std::string& reason) {
        return Json{{"vcpus", format_ranges(vcpus.at(reason))}, {"reason", reason}};
    });
}

Json to_json(const topology::NodePlacement& node) {
    return {{"virtual_node", node.virtual_node},
            {"host_node", or_null(node.host_node)},
            {"memory_bytes", node.memory_bytes},
            {"reason", node.reason}};
}

Json to_json(const topology::Node& node) {
    const auto pool = [](const topology::HugePagePool& huge) {
        return Json{{"page_bytes", huge.page_bytes}, {"total", huge.total}, {"free", huge.free}};
    };
    return {{"os_index", node.os_index},     {"memory_bytes", node.memory_bytes},
            {"free_bytes", node.free_bytes}, {"allowed", node.allowed},
            {"has_pus", node.has_pus},       {"huge_pages", column(node.huge_pages, pool)}};
}

Json pus_by_column(const std::vector<topology::Pu>& pus) {
    using topology::Pu;
    return {{"os_index", column(pus, [](const Pu& pu) { return pu.os_index; })},
            {"core", column(pus, [](const Pu& pu) { return pu.core; })},
            {"llc", column(pus, [](const Pu& pu) { return pu.llc; })},
            {"package", column(pus, [](const Pu& pu) { return pu.package; })},
            {"node", column(pus, [](const Pu& pu) { return or_null(pu.node); })},
            {"allowed", column(pus, [](const Pu& pu) { return pu.allowed; })}};
}

// Of one of the members that to_json() writes as text.
std::string text_of(const nlohmann::json& json, const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

} // namespace

Json to_json(const CheckResult& check) {
    return check_json(check);
}

Result<CheckResult> check_from_json(const nlohmann::json& json) {
    const auto verdict = json.is_object() ? parse_verdict(text_of(json, "verdict")) : std::nullopt;
    CheckResult check;
    if (verdict)
        check.name = text_of(json, "name");
    if (check.name.empty())
        return fail(ErrorKind::bad_input, "read a result", "it has no name or no verdict");
    check.verdict = *verdict;
    check.title = text_of(json, "title");
    check.reference = text_of(json, "reference");
    check.summary = text_of(json, "summary");
    check.reason = text_of(json, "reason");
    check.known = text_of(json, "known");
    check.repeat = text_of(json, "repeat");
    if (const auto seconds = json.find("seconds"); seconds != json.end() && seconds->is_number())
        check.seconds = seconds->get<double>();
    if (const auto details = json.find("details"); details != json.end() && details->is_array())
        for (const auto& line : *details)
            if (line.is_string())
                check.details.push_back(line.get<std::string>());
    if (const auto facts = json.find("facts"); facts != json.end() && facts->is_object())
        check.facts = *facts;
    return check;
}

Json to_json(const Error& error) {
    return {{"kind", nestbed::to_string(error.kind)},
            {"asked", error.asked},
            {"found", error.found},
            {"remedy", error.remedy}};
}

Json to_json(const topology::Plan& plan) {
    using topology::VcpuPlacement;
    Json json{{"policy", topology::to_string(plan.policy)},
              {"page_size", topology::to_string(plan.page_size)},
              {"shape", to_json(plan.shape)},
              {"memory_bytes", plan.memory_bytes()},
              {"min_vcpus_per_pu", plan.min_vcpus_per_pu},
              {"max_vcpus_per_pu", plan.max_vcpus_per_pu}};
    json["vcpus"] = {
        {"vcpu", column(plan.vcpus, [](const VcpuPlacement& v) { return v.vcpu; })},
        {"apic_id", column(plan.vcpus, [](const VcpuPlacement& v) { return v.apic_id; })},
        {"virtual_node", column(plan.vcpus, [](const VcpuPlacement& v) { return v.virtual_node; })},
        {"pus", column(plan.vcpus, [](const VcpuPlacement& v) { return format_ranges(v.pus); })}};
    json["reasons"] = grouped_reasons(plan.vcpus);
    json["nodes"] = column(plan.nodes, [](const topology::NodePlacement& node) { return to_json(node); });
    json["distances"] = plan.distances;
    json["notes"] = plan.notes;
    return json;
}

Json to_json(const topology::Host& host, PuList pus) {
    const auto allowed =
        std::count_if(host.pus.begin(), host.pus.end(), [](const auto& pu) { return pu.allowed; });
    Json json{{"source", host.source},
              {"is_this_host", host.is_this_host},
              {"packages", host.packages},
              {"llcs", host.llcs},
              {"cores", host.cores},
              {"pus", host.pus.size()},
              {"allowed_pus", allowed},
              {"nodes", column(host.nodes, [](const topology::Node& node) { return to_json(node); })},
              {"distances", host.distances}};
    if (pus == PuList::include)
        json["pu_list"] = pus_by_column(host.pus);
    return json;
}

Json to_json(const HostFacts& host) {
    Json json{{"kernel", known(host.kernel)},
              {"cpu_model", known(host.cpu_model)},
              {"microcode", known(host.microcode)},
              {"kvm_module", known(host.kvm_module)},
              {"module_parameters", Json::object()},
              {"kvm_capabilities", Json::object()},
              {"limits", Json::object()}};
    for (const auto& [name, value] : host.module_parameters)
        json["module_parameters"][name] = value;
    for (const auto& [name, value] : host.kvm_capabilities)
        json["kvm_capabilities"][name] = value;
    for (const auto& [name, value] : host.limits)
        json["limits"][name] = or_null(value);
    if (host.topology) {
        json["topology"] = to_json(*host.topology);
        json["topology_xml"] = host.topology->xml;
    }
    return json;
}

Json to_json(const RunResult& result) {
    Json json{{"schema_version", schema_version},
              {"program", {{"name", "nestbed"}, {"version", result.version}}},
              {"kind", result.kind},
              {"started_at", format_utc(result.started_at)},
              {"duration_s", number(result.duration_s)},
              {"command_line", result.command_line},
              {"seed", or_null(result.seed)},
              {"outcome", to_string(result.outcome)},
              {"exit_code", exit_code(result.outcome)}};
    if (result.error)
        json["error"] = to_json(*result.error);
    if (result.host)
        json["host"] = to_json(*result.host);
    if (result.machine)
        json["machine"] = to_json(*result.machine);
    if (result.plan)
        json["plan"] = to_json(*result.plan);
    json["checks"] = column(result.checks, [](const CheckResult& check) { return to_json(check); });
    if (result.sweep)
        json["sweep"] = to_json(*result.sweep);
    if (result.place_comparison)
        json["place_comparison"] = to_json(*result.place_comparison);
    if (result.kvm_stats)
        json["kvm_stats"] = to_json(*result.kvm_stats);
    json["timings"] = column(result.timings, [](const Timing& timing) {
        return Json{{"phase", timing.phase}, {"seconds", number(timing.seconds)}};
    });
    return json;
}

std::string format_utc(std::chrono::system_clock::time_point time) {
    const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(time);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(milliseconds);
    const auto day = std::chrono::floor<std::chrono::days>(seconds);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{milliseconds - day};
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                       clock.subseconds().count());
}

} // namespace nestbed::report
