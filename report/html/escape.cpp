#include "report/html/escape.hpp"

namespace nestbed::report {

std::string html(std::string_view text) {
    std::string escaped;
    escaped.reserve(text.size());
    for (const char letter : text) {
        switch (letter) {
        case '&':
            escaped += "&amp;";
            break;
        case '<':
            escaped += "&lt;";
            break;
        case '>':
            escaped += "&gt;";
            break;
        case '"':
            escaped += "&quot;";
            break;
        case '\'':
            escaped += "&#39;";
            break;
        case '\n':
        case '\t':
            escaped += letter;
            break;
        default:
            if ((letter >= 0 && letter < ' ') || letter == 0x7f)
                escaped += "\xef\xbf\xbd";
            else
                escaped += letter;
        }
    }
    return escaped;
}

std::string script_json(const nlohmann::ordered_json& json) {
    const auto text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    std::string escaped;
    escaped.reserve(text.size());
    // These letters are in JSON in strings only.
    for (const char letter : text) {
        if (letter == '<')
            escaped += "\\u003c";
        else if (letter == '>')
            escaped += "\\u003e";
        else if (letter == '&')
            escaped += "\\u0026";
        else
            escaped += letter;
    }
    return escaped;
}

} // namespace nestbed::report
