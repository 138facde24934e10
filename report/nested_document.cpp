#include "report/nested_document.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "nested/svm/features.hpp"
#include "nested/vmx/capability.hpp"
#include "nested/vmx/capability_names.hpp"
#include "nested/vmx/features.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr int schema_version = 1;
constexpr std::array<std::string_view, 3> extensions{"none", "VMX", "SVM"};

std::string_view to_string(vmx::Allowed allowed) {
    switch (allowed) {
    case vmx::Allowed::zero:
        return "0";
    case vmx::Allowed::one:
        return "1";
    case vmx::Allowed::either:
        return "0 or 1";
    case vmx::Allowed::none:
        break;
    }
    return "none";
}

void add_svm(OrderedJson& json, const core::cpu::Table& supported) {
    const auto shown = svm::shown_features(supported);
    if (shown.empty())
        return;
    const auto numbers = svm::shown_numbers(supported);
    json["revision"] = numbers.revision;
    json["asids"] = numbers.asids;
    json["features"] = OrderedJson::object();
    for (const auto& feature : svm::features())
        json["features"][std::string{feature.name}] = std::ranges::find(shown, feature.name) != shown.end();
}

void add_vmx_numbers(OrderedJson& json, const vmx::Capabilities& seen) {
    if (const auto value = vmx::value_of(seen, vmx::msr::basic)) {
        const auto basic = vmx::decode_basic(*value);
        json["vmcs_revision"] = basic.revision;
        json["vmcs_bytes"] = basic.bytes;
        json["vmcs_memory_type"] = basic.memory_type;
    }
    if (const auto value = vmx::value_of(seen, vmx::msr::misc)) {
        const auto misc = vmx::decode_misc(*value);
        json["preemption_timer_shift"] = misc.preemption_timer_shift;
        json["cr3_targets"] = misc.cr3_targets;
        json["recommended_msrs"] = misc.recommended_msrs;
        json["mseg_revision"] = misc.mseg_revision;
    }
    if (const auto value = vmx::value_of(seen, vmx::msr::vmcs_enum))
        json["highest_vmcs_index"] = vmx::highest_vmcs_index(*value);
}

void add_vmx(OrderedJson& json, const vmx::Capabilities& seen) {
    if (seen.empty())
        return;
    add_vmx_numbers(json, seen);
    auto features = OrderedJson::object();
    auto controls = OrderedJson::array();
    for (const auto& group : vmx::groups())
        for (const auto& bit : group.bits) {
            const auto allowed = vmx::allowed(seen, group, bit);
            features[bit.feature] = allowed == vmx::Allowed::one || allowed == vmx::Allowed::either;
            if (group.layout != vmx::Layout::bits)
                controls.push_back({{"feature", bit.feature},
                                    {"name", bit.name},
                                    {"msr", vmx::capability_name(group.msr)},
                                    {"bit", std::countr_zero(bit.mask)},
                                    {"allowed", to_string(allowed)}});
        }
    json["features"] = std::move(features);
    json["controls"] = std::move(controls);
    json["msrs"] = OrderedJson::object();
    for (const auto& known : vmx::capability_msrs)
        if (const auto value = vmx::value_of(seen, known.index))
            json["msrs"][known.name] = fmt::format("{:#018x}", *value);
}

// Null where there is no such member, or one of another type.
template<typename T>
const T* member(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() ? nullptr : found->get_ptr<const T*>();
}

bool read_features(const Json& json, NestedDocument& document) {
    if (!json.contains("features"))
        return true;
    if (!json["features"].is_object())
        return false;
    for (const auto& [name, value] : json["features"].items()) {
        const auto* const has = value.get_ptr<const bool*>();
        if (has == nullptr)
            return false;
        document.features[printable(name)] = *has;
    }
    return true;
}

bool read_controls(const Json& json, NestedDocument& document) {
    if (!json.contains("controls"))
        return true;
    if (!json["controls"].is_array())
        return false;
    for (const auto& control : json["controls"]) {
        const auto* const feature = control.is_object() ? member<std::string>(control, "feature") : nullptr;
        const auto* const allowed = control.is_object() ? member<std::string>(control, "allowed") : nullptr;
        if (feature == nullptr || allowed == nullptr)
            return false;
        document.allowed[printable(*feature)] = printable(*allowed);
    }
    return true;
}

bool read_msrs(const Json& json, NestedDocument& document) {
    if (!json.contains("msrs"))
        return true;
    if (!json["msrs"].is_object())
        return false;
    for (const auto& [name, value] : json["msrs"].items()) {
        const auto* const text = value.get_ptr<const std::string*>();
        if (text == nullptr)
            return false;
        document.msrs[printable(name)] = printable(*text);
    }
    return true;
}

void read_numbers(const Json& json, NestedDocument& document) {
    for (const auto& [name, value] : json.items())
        if (value.is_number_unsigned() && name != "schema_version")
            document.numbers[printable(name)] = value.get<std::uint64_t>();
}

template<typename T>
std::set<std::string> keys(const std::map<std::string, T>& a, const std::map<std::string, T>& b) {
    std::set<std::string> both;
    for (const auto& [name, value] : a)
        both.insert(name);
    for (const auto& [name, value] : b)
        both.insert(name);
    return both;
}

template<typename T>
std::string text_of(const std::map<std::string, T>& values, const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? "not there" : fmt::format("{}", found->second);
}

struct Names {
    const std::string& a;
    const std::string& b;
};

template<typename T>
void add_unequal(std::vector<std::string>& lines, const std::map<std::string, T>& a,
                 const std::map<std::string, T>& b, const Names& names, std::string_view what) {
    for (const auto& key : keys(a, b))
        if (const auto left = text_of(a, key), right = text_of(b, key); left != right)
            lines.push_back(
                fmt::format("{}{}: {} in {}, {} in {}", key, what, left, names.a, right, names.b));
}

bool has(const NestedDocument& document, const std::string& feature) {
    const auto found = document.features.find(feature);
    return found != document.features.end() && found->second;
}

} // namespace

OrderedJson to_json(const NestedSeen& seen) {
    OrderedJson json{{"schema_version", schema_version},
                     {"extension", to_string(seen.offer.extension)},
                     {"reason", seen.offer.reason},
                     {"remedy", seen.offer.remedy}};
    if (seen.offer.extension == nested::Extension::vmx)
        add_vmx(json, seen.vmx);
    else
        add_svm(json, seen.supported_cpuid);
    return json;
}

Result<NestedDocument> parse_nested_document(std::string_view text, const std::string& name) {
    const auto refuse = [&](std::string_view found) {
        return fail(ErrorKind::bad_input, "read " + name, std::string{found},
                    "make one with `nestbed check --nested --json > FILE`");
    };
    const auto json = Json::parse(text, nullptr, false);
    if (json.is_discarded() || !json.is_object())
        return refuse("no JSON object");
    const auto* const version = member<std::uint64_t>(json, "schema_version");
    const auto* const extension = member<std::string>(json, "extension");
    if (version == nullptr || extension == nullptr ||
        std::ranges::find(extensions, *extension) == extensions.end())
        return refuse("not what `nestbed check --nested --json` prints");
    if (*version != schema_version)
        return refuse(
            fmt::format("version {} of the format, this program reads {}", *version, schema_version));
    NestedDocument document{
        .extension = *extension, .numbers = {}, .features = {}, .allowed = {}, .msrs = {}};
    if (!read_features(json, document) || !read_controls(json, document) || !read_msrs(json, document))
        return refuse("a member of the wrong type");
    read_numbers(json, document);
    return document;
}

std::vector<std::string> nested_differences(const NestedDocument& a, const std::string& a_name,
                                            const NestedDocument& b, const std::string& b_name) {
    const Names names{.a = a_name, .b = b_name};
    std::vector<std::string> lines;
    if (a.extension != b.extension)
        lines.push_back(
            fmt::format("extension: {} in {}, {} in {}", a.extension, a_name, b.extension, b_name));
    for (const auto& feature : keys(a.features, b.features))
        if (has(a, feature) != has(b, feature))
            lines.push_back(fmt::format("{}: only in {}", feature, has(a, feature) ? a_name : b_name));
    // A control that one has and the other has not is told already.
    auto a_allowed = a.allowed;
    auto b_allowed = b.allowed;
    const auto told = [&](const auto& control) { return has(a, control.first) != has(b, control.first); };
    std::erase_if(a_allowed, told);
    std::erase_if(b_allowed, told);
    add_unequal(lines, a_allowed, b_allowed, names, " may be");
    add_unequal(lines, a.numbers, b.numbers, names, "");
    add_unequal(lines, a.msrs, b.msrs, names, "");
    return lines;
}

} // namespace nestbed::report
