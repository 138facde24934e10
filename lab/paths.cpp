#include "lab/paths.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace nestbed::lab {

namespace {

constexpr std::array<std::string_view, 8> output_options{"-o",     "--output", "--tap", "--junit",
                                                         "--html", "--trace",  "--svg", "--write"};
// Before a file's name within an argument: "traffic:ipis.csv", "file:plan.toml", alone or in a list
// (--compare).
constexpr std::string_view separators = "=:,";

Path absolute(std::string_view text, const Path& working_directory) {
    auto path = (working_directory / text).lexically_normal();
    return path.has_filename() ? path : path.parent_path(); // "results/" is "results"
}

bool names_results(std::string_view option) {
    return std::ranges::find(output_options, option) != output_options.end();
}

// "--output=DIR" and "-oDIR": the value that is in the option's own argument.
std::optional<std::string_view> attached_result(std::string_view argument) {
    if (const auto at = argument.find('=');
        at != std::string_view::npos && names_results(argument.substr(0, at)))
        return argument.substr(at + 1);
    if (argument.size() > 2 && argument.starts_with("-o"))
        return argument.substr(2);
    return std::nullopt;
}

} // namespace

std::vector<Path> input_files(const std::vector<std::string>& arguments, const Path& working_directory,
                              const std::function<bool(const Path&)>& is_file) {
    std::vector<Path> files;
    const auto consider = [&](std::string_view text) {
        if (text.empty() || text.find('\0') != std::string_view::npos)
            return;
        auto path = absolute(text, working_directory);
        if (is_file(path) && std::ranges::find(files, path) == files.end())
            files.push_back(std::move(path));
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        if (names_results(argument)) {
            ++i;
            continue;
        }
        if (attached_result(argument))
            continue;
        consider(argument);
        // "--initrd=FILE", "traffic:FILE", "file=FILE,ro"
        for (auto at = argument.find_first_of(separators); at != std::string_view::npos;
             at = argument.find_first_of(separators, at + 1)) {
            const auto rest = argument.substr(at + 1);
            consider(rest);
            consider(rest.substr(0, rest.find(',')));
        }
    }
    return files;
}

bool takes_kernel_along(const std::vector<std::string>& arguments) {
    return !arguments.empty() && arguments.front() == "tower";
}

std::vector<Path> output_roots(const std::vector<std::string>& arguments, const Path& working_directory) {
    std::vector<Path> roots{absolute("results", working_directory)};
    const auto add = [&](std::string_view text) {
        auto path = absolute(text, working_directory);
        if (!text.empty() && std::ranges::find(roots, path) == roots.end())
            roots.push_back(std::move(path));
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (names_results(arguments[i]) && i + 1 < arguments.size())
            add(arguments[++i]);
        else if (const auto value = attached_result(arguments[i]))
            add(*value);
    }
    return roots;
}

const Path* root_of(const Path& path, const std::vector<Path>& roots) {
    if (!path.is_absolute() || path.lexically_normal() != path)
        return nullptr;
    const auto lies_in = [&](const Path& root) {
        const auto [end_of_root, rest] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
        return end_of_root == root.end();
    };
    const auto found = std::ranges::find_if(roots, lies_in);
    return found == roots.end() ? nullptr : &*found;
}

} // namespace nestbed::lab
