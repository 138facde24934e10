// Text of unknown origin as HTML.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace nestbed::report {

// Fit for an element's content and for an attribute in quotes. Control characters but newline and tab become
// U+FFFD.
[[nodiscard]] std::string html(std::string_view text);

// For a <script type="application/json">: nothing in it ends the element or starts a comment (HTML,
// "Restrictions for contents of script elements").
[[nodiscard]] std::string script_json(const nlohmann::ordered_json& json);

} // namespace nestbed::report
