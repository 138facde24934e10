#include "nested/conform/outside_json.hpp"

namespace nestbed::conform {

namespace {

constexpr int deepest = 32; // facts of a result go to about five

} // namespace

std::optional<nlohmann::json> parse_outside_json(std::string_view text) {
    bool too_deep = false;
    auto json = nlohmann::json::parse(
        text,
        [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
            too_deep = too_deep || depth > deepest;
            return !too_deep;
        },
        false);
    if (too_deep || json.is_discarded() || !json.is_object())
        return {};
    return json;
}

} // namespace nestbed::conform
