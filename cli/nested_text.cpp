#include "cli/nested_text.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "nested/svm/features.hpp"

namespace nestbed::cli {

namespace {

bool has(const std::vector<std::string_view>& shown, std::string_view name) {
    return std::ranges::find(shown, name) != shown.end();
}

} // namespace

std::string nested_text(const nested::Offer& offer, const core::cpu::Table& supported) {
    auto text = fmt::format("nested virtualization: {} ({})\n", to_string(offer.extension), offer.reason);
    if (!offer.remedy.empty())
        text += fmt::format("  {}\n", offer.remedy);
    const auto shown = svm::shown_features(supported);
    if (shown.empty())
        return text;
    const auto numbers = svm::shown_numbers(supported);
    text +=
        fmt::format("SVM revision {}, {} ASIDs; CPUID Fn8000_000A EDX:\n", numbers.revision, numbers.asids);
    for (const auto& feature : svm::features())
        text += fmt::format("  {:<3} {:<19} {} (bit {})\n", has(shown, feature.name) ? "yes" : "no",
                            feature.name, feature.title, feature.bit);
    return text;
}

nlohmann::ordered_json nested_json(const nested::Offer& offer, const core::cpu::Table& supported) {
    nlohmann::ordered_json json{
        {"extension", to_string(offer.extension)}, {"reason", offer.reason}, {"remedy", offer.remedy}};
    const auto shown = svm::shown_features(supported);
    if (shown.empty())
        return json;
    const auto numbers = svm::shown_numbers(supported);
    json["revision"] = numbers.revision;
    json["asids"] = numbers.asids;
    json["features"] = nlohmann::ordered_json::object();
    for (const auto& feature : svm::features())
        json["features"][std::string{feature.name}] = has(shown, feature.name);
    return json;
}

} // namespace nestbed::cli
