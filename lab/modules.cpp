#include "lab/modules.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "core/boot/elf.hpp"

namespace nestbed::lab {

namespace {

constexpr std::array<std::string_view, 4> endings{".ko", ".ko.xz", ".ko.zst", ".ko.gz"};

// Calls `take` with each non-empty piece.
template<typename Take>
void split(std::string_view text, char separator, Take take) {
    while (!text.empty()) {
        const auto end = std::min(text.find(separator), text.size());
        if (end > 0)
            take(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

struct Walk {
    const std::set<std::string>& built_in;
    const std::function<Result<ModuleInfo>(const std::string&)>& info_of;
    std::set<std::string> open; // begun and not yet in the order
    std::vector<std::string> order;

    Status visit(const std::string& name) {
        if (built_in.contains(name) || std::ranges::find(order, name) != order.end())
            return {};
        if (!open.insert(name).second)
            return fail(ErrorKind::bad_input, fmt::format("order the kernel modules around {}", name),
                        "they depend on one another in a circle", "name the modules of one kernel build");
        const auto info = info_of(name);
        if (!info)
            return tl::unexpected{info.error()};
        for (const auto& needed : info->depends)
            if (auto visited = visit(needed); !visited)
                return visited;
        open.erase(name);
        order.push_back(name);
        return {};
    }
};

} // namespace

std::string module_name(std::string_view file_name) {
    std::string name{file_name.substr(file_name.rfind('/') + 1)};
    for (const auto ending : endings)
        if (name.ends_with(ending)) {
            name.resize(name.size() - ending.size());
            break;
        }
    std::ranges::replace(name, '-', '_');
    return name;
}

bool is_module_file(std::string_view file_name) {
    return std::ranges::any_of(endings, [&](auto ending) { return file_name.ends_with(ending); });
}

std::string module_parameters(std::string_view command_line, std::string_view module) {
    std::string parameters;
    split(command_line, ' ', [&](std::string_view word) {
        word = word.substr(0, word.find('\n'));
        const auto dot = word.find('.');
        if (word.find_first_of("./=") != dot || dot == std::string_view::npos ||
            module_name(word.substr(0, dot)) != module)
            return;
        if (!parameters.empty())
            parameters += ' ';
        parameters += word.substr(dot + 1);
    });
    return parameters;
}

Result<ModuleInfo> read_module_info(std::span<const std::byte> module) {
    const auto sections = boot::parse_elf64_sections(module);
    if (!sections)
        return tl::unexpected{sections.error()};
    const auto found =
        std::ranges::find_if(*sections, [](const auto& section) { return section.name == ".modinfo"; });
    if (found == sections->end())
        return fail(ErrorKind::bad_input, "read the kernel module", "it has no section .modinfo");
    ModuleInfo info;
    split({reinterpret_cast<const char*>(found->data.data()), found->data.size()}, '\0',
          [&](std::string_view entry) {
              constexpr std::string_view depends = "depends=";
              constexpr std::string_view vermagic = "vermagic=";
              if (entry.starts_with(depends))
                  split(entry.substr(depends.size()), ',',
                        [&](std::string_view name) { info.depends.push_back(module_name(name)); });
              else if (entry.starts_with(vermagic)) {
                  const auto value = entry.substr(vermagic.size());
                  info.release = value.substr(0, value.find(' '));
              }
          });
    return info;
}

Result<std::vector<std::string>>
load_order(const std::vector<std::string>& wanted, const std::set<std::string>& built_in,
           const std::function<Result<ModuleInfo>(const std::string& name)>& info_of) {
    Walk walk{.built_in = built_in, .info_of = info_of, .open = {}, .order = {}};
    for (const auto& name : wanted)
        if (auto visited = walk.visit(name); !visited)
            return tl::unexpected{visited.error()};
    return std::move(walk.order);
}

std::set<std::string> parse_built_in(std::string_view text) {
    std::set<std::string> names;
    split(text, '\n', [&](std::string_view line) {
        if (is_module_file(line))
            names.insert(module_name(line));
    });
    return names;
}

} // namespace nestbed::lab
