#include "guests/qemu_properties.hpp"

namespace nestbed::guests {

std::vector<std::string_view> split_properties(std::string_view text) {
    std::vector<std::string_view> properties;
    while (true) {
        const auto comma = text.find(',');
        properties.push_back(text.substr(0, comma));
        if (comma == std::string_view::npos)
            return properties;
        text.remove_prefix(comma + 1);
    }
}

std::pair<std::string_view, std::string_view> split_property(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos)
        return {text, {}};
    return {text.substr(0, equals), text.substr(equals + 1)};
}

std::optional<bool> parse_switch(std::string_view text) {
    for (const std::string_view yes : {"on", "yes", "true", "y"})
        if (text == yes)
            return true;
    for (const std::string_view no : {"off", "no", "false", "n"})
        if (text == no)
            return false;
    return std::nullopt;
}

} // namespace nestbed::guests
