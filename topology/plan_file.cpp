#include "topology/plan_file.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
// toml++ 3 asserts that a table's header begins as a key does, and says right after that this one does not.
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>

#include "base/edit_distance.hpp"
#include "base/printable.hpp"
#include "base/units.hpp"
#include "topology/number_list.hpp"
#include "topology/text_file.hpp"

namespace nestbed::topology {

namespace {

constexpr std::int64_t file_version = 1;
constexpr std::size_t max_file_bytes = 16 * MiB;
constexpr std::size_t max_nodes = 1024;                        // Linux's CONFIG_NODES_SHIFT is at most 10
constexpr std::uint32_t max_index = 1U << 20;                  // of PUs and nodes, as in hwloc_source.cpp
constexpr std::size_t max_shared = 16UL * max_plan_file_vcpus; // of an "any_of": its PUs times its vCPUs

tl::unexpected<Error> refuse(const toml::source_region& where, std::string why, std::string remedy = {}) {
    return fail(ErrorKind::bad_input, fmt::format("plan file, line {}", where.begin.line), std::move(why),
                std::move(remedy));
}

Status check_keys(const toml::table& table, std::span<const std::string_view> known) {
    for (const auto& [key, value] : table)
        if (std::find(known.begin(), known.end(), key.str()) == known.end())
            return refuse(key.source(), fmt::format("unknown field \"{}\"", printable(key.str())),
                          fmt::format("did you mean {}?", nearest(key.str(), known)));
    return {};
}

Result<std::string> text_at(const toml::table& table, std::string_view key) {
    const auto* const node = table.get(key);
    if (node == nullptr)
        return refuse(table.source(), fmt::format("\"{}\" is missing", key));
    const auto text = node->value_exact<std::string>();
    if (!text)
        return refuse(node->source(), fmt::format("\"{}\" is no text in quotes", key));
    return *text;
}

Result<std::uint32_t> number_at(const toml::table& table, std::string_view key, std::uint32_t largest) {
    const auto* const node = table.get(key);
    if (node == nullptr)
        return refuse(table.source(), fmt::format("\"{}\" is missing", key));
    const auto number = node->value_exact<std::int64_t>();
    if (!number || *number < 0 || *number > largest)
        return refuse(node->source(), fmt::format("\"{}\" is no whole number from 0 to {}", key, largest));
    return static_cast<std::uint32_t>(*number);
}

Result<std::vector<std::uint32_t>> list_at(const toml::table& table, std::string_view key,
                                           std::uint32_t largest) {
    const auto text = text_at(table, key);
    if (!text)
        return tl::unexpected{text.error()};
    auto numbers = parse_number_list(*text, largest, max_plan_file_vcpus);
    if (!numbers)
        return refuse(table.get(key)->source(), fmt::format("\"{}\": {}", key, numbers.error().found),
                      numbers.error().remedy);
    return numbers;
}

// Runs `read` on each of an array of tables; empty where the key is not there.
template<typename Read>
Status for_each_table(const toml::table& document, std::string_view key, std::size_t most, Read read) {
    const auto* const node = document.get(key);
    if (node == nullptr)
        return {};
    const auto* const array = node->as_array();
    if (array == nullptr || !array->is_array_of_tables())
        return refuse(node->source(), fmt::format("\"{}\" is written as [[{}]]", key, key));
    if (array->size() > most)
        return refuse(node->source(), fmt::format("more than {} of [[{}]]", most, key));
    for (const auto& each : *array)
        if (auto done = read(*each.as_table()); !done)
            return done;
    return {};
}

Status read_head(const toml::table& document, PlanFile& file) {
    constexpr std::array<std::string_view, 5> known{"version", "page_size", "topology", "node", "vcpu"};
    if (auto checked = check_keys(document, known); !checked)
        return checked;
    const auto version = number_at(document, "version", max_index);
    if (!version)
        return tl::unexpected{version.error()};
    if (*version != file_version)
        return refuse(document.get("version")->source(),
                      fmt::format("version {}, known is {}", *version, file_version));
    if (document.contains("page_size")) {
        const auto text = text_at(document, "page_size");
        const auto size = text ? parse_page_size(*text) : tl::unexpected{text.error()};
        if (!size)
            return refuse(document.get("page_size")->source(), size.error().message());
        file.page_size = *size;
    }
    if (document.contains("topology")) {
        const auto text = text_at(document, "topology");
        const auto shape = text ? parse_shape(*text) : tl::unexpected{text.error()};
        if (!shape)
            return refuse(document.get("topology")->source(), shape.error().message());
        file.shape = *shape;
    }
    return {};
}

Status read_node(const toml::table& table, PlanFile& file) {
    constexpr std::array<std::string_view, 2> known{"memory", "host_node"};
    if (auto checked = check_keys(table, known); !checked)
        return checked;
    PlanFile::Node node;
    const auto text = text_at(table, "memory");
    const auto bytes = text ? parse_size(*text) : tl::unexpected{text.error()};
    if (!text)
        return tl::unexpected{text.error()};
    if (!bytes || *bytes == 0 || *bytes > std::uint64_t{1} << 52)
        return refuse(table.get("memory")->source(),
                      "\"memory\" is no size above 0 such as \"2G\" or \"512M\"");
    node.memory_bytes = *bytes;
    if (table.contains("host_node")) {
        const auto index = number_at(table, "host_node", max_index);
        if (!index)
            return tl::unexpected{index.error()};
        node.host_node = *index;
    }
    file.nodes.push_back(node);
    return {};
}

using Places = std::map<std::uint32_t, PlanFile::Place>;

Status read_vcpus(const toml::table& table, const PlanFile& file, Places& places) {
    constexpr std::array<std::string_view, 4> known{"vcpus", "node", "pus", "any_of"};
    if (auto checked = check_keys(table, known); !checked)
        return checked;
    const auto vcpus = list_at(table, "vcpus", max_plan_file_vcpus - 1);
    if (!vcpus)
        return tl::unexpected{vcpus.error()};
    const auto node = number_at(table, "node", max_nodes);
    if (!node)
        return tl::unexpected{node.error()};
    if (*node >= file.nodes.size())
        return refuse(
            table.get("node")->source(),
            fmt::format("node {}, but there are {} of [[node]], counted from 0", *node, file.nodes.size()));
    const bool each = table.contains("pus"), shared = table.contains("any_of");
    if (each && shared)
        return refuse(table.source(), "both \"pus\" and \"any_of\"",
                      "\"pus\" has one for each vCPU, \"any_of\" is where all of them may run");
    std::vector<std::uint32_t> pus;
    if (each || shared) {
        auto list = list_at(table, each ? "pus" : "any_of", max_index);
        if (!list)
            return tl::unexpected{list.error()};
        pus = std::move(*list);
    }
    if (each && pus.size() != vcpus->size())
        return refuse(table.get("pus")->source(),
                      fmt::format("{} PUs for {} vCPUs", pus.size(), vcpus->size()),
                      "give one PU for each vCPU, in their order");
    if (shared && vcpus->size() * pus.size() > max_shared)
        return refuse(table.get("any_of")->source(), "too many PUs for so many vCPUs");
    if (shared) {
        std::sort(pus.begin(), pus.end());
        pus.erase(std::unique(pus.begin(), pus.end()), pus.end());
    }
    for (std::size_t i = 0; i < vcpus->size(); ++i) {
        PlanFile::Place place{.node = *node, .pus = each ? std::vector{pus[i]} : pus};
        if (!places.try_emplace((*vcpus)[i], std::move(place)).second)
            return refuse(table.source(), fmt::format("vCPU {} is placed twice", (*vcpus)[i]));
    }
    return {};
}

// As parse_size() reads it, with no byte lost.
std::string exact_size(std::uint64_t bytes) {
    for (const auto& [unit, letter] : {std::pair{GiB, 'G'}, {MiB, 'M'}, {KiB, 'K'}})
        if (bytes % unit == 0)
            return fmt::format("{}{}", bytes / unit, letter);
    return fmt::format("{}", bytes);
}

std::string format_vcpus(std::span<const std::uint32_t> vcpus, std::uint32_t node, std::string_view field,
                         std::span<const std::uint32_t> pus) {
    auto text = fmt::format("\n[[vcpu]]\nvcpus = \"{}\"\nnode = {}\n", format_number_list(vcpus), node);
    if (!pus.empty())
        text += fmt::format("{} = \"{}\"\n", field, format_number_list(pus));
    return text;
}

} // namespace

std::uint64_t PlanFile::memory_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& node : nodes)
        sum += node.memory_bytes;
    return sum;
}

Result<PlanFile> parse_plan_file(std::string_view text) {
    // Beyond ASCII there is nothing but in comments, and there are characters for which toml++ 3 reaches what
    // it has told the compiler cannot be.
    std::string ascii{text};
    std::ranges::replace_if(
        ascii, [](unsigned char c) { return c >= 0x80; }, '?');
    const auto parsed = toml::parse(ascii);
    if (!parsed)
        return refuse(parsed.error().source(), printable(parsed.error().description()),
                      "`nestbed plan --write FILE` writes one that can be read");
    const auto& document = parsed.table();
    PlanFile file;
    Places places;
    auto read = read_head(document, file);
    if (read)
        read = for_each_table(document, "node", max_nodes,
                              [&](const toml::table& table) { return read_node(table, file); });
    if (read)
        read = for_each_table(document, "vcpu", max_plan_file_vcpus,
                              [&](const toml::table& table) { return read_vcpus(table, file, places); });
    if (!read)
        return tl::unexpected{read.error()};
    if (file.nodes.empty() || places.empty())
        return refuse(document.source(),
                      fmt::format("there is no [[{}]]", file.nodes.empty() ? "node" : "vcpu"));
    std::uint32_t next = 0;
    for (auto& [vcpu, place] : places) {
        if (vcpu != next)
            return refuse(document.source(), fmt::format("vCPU {} is not placed, but vCPU {} is", next, vcpu),
                          "number vCPUs from 0 without gaps");
        file.places.push_back(std::move(place));
        ++next;
    }
    if (file.shape && vcpu_count(*file.shape) != file.vcpus())
        return refuse(document.get("topology")->source(),
                      fmt::format("{} is {} vCPUs, placed are {}", format_shape(*file.shape),
                                  vcpu_count(*file.shape), file.vcpus()));
    return file;
}

Result<PlanFile> read_plan_file(const std::string& path) {
    const auto text = read_text_file(path, max_file_bytes);
    if (!text)
        return fail(ErrorKind::bad_input, fmt::format("plan file {}", path), text.error().found,
                    "`nestbed plan --write FILE` writes one");
    auto file = parse_plan_file(*text);
    if (!file) {
        auto error = file.error();
        error.asked = fmt::format("{} ({})", error.asked, path);
        return tl::unexpected{std::move(error)};
    }
    return file;
}

std::string format_plan_file(const Plan& plan, const Host& host) {
    auto text = fmt::format(
        "# Policy {} for {} vCPUs on {}.\n"
        "# To look at it: nestbed plan --plan FILE; to run it: nestbed validate --plan FILE\n"
        "version = {}\n"
        "page_size = \"{}\"\n"
        "topology = \"{}\" # sockets x dies x cores x threads; without it, derived from the placement\n",
        printable(to_string(plan.policy)), plan.vcpus.size(), printable(host.source), file_version,
        to_string(plan.page_size), format_shape(plan.shape));
    for (const auto& node : plan.nodes) {
        text += fmt::format("\n[[node]] # {}\nmemory = \"{}\"\n", node.virtual_node,
                            exact_size(node.memory_bytes));
        if (node.host_node)
            text += fmt::format("host_node = {}\n", *node.host_node);
    }
    text +=
        "\n# \"pus\" has one PU for each vCPU, in their order; \"any_of\" is where all of them may run.\n";
    for (const auto& node : plan.nodes) {
        std::vector<std::uint32_t> vcpus, pus;
        std::map<std::vector<std::uint32_t>, std::vector<std::uint32_t>> others; // by where they may run
        for (const auto& vcpu : plan.vcpus) {
            if (vcpu.virtual_node != node.virtual_node)
                continue;
            if (vcpu.pus.size() == 1) {
                vcpus.push_back(vcpu.vcpu);
                pus.push_back(vcpu.pus.front());
            } else {
                others[vcpu.pus].push_back(vcpu.vcpu);
            }
        }
        if (!vcpus.empty())
            text += format_vcpus(vcpus, node.virtual_node, "pus", pus);
        for (const auto& [any_of, members] : others) {
            const auto most = std::max(std::size_t{1}, max_shared / std::max(std::size_t{1}, any_of.size()));
            for (std::span<const std::uint32_t> left{members}; !left.empty();) {
                const auto part = left.first(std::min(most, left.size()));
                text += format_vcpus(part, node.virtual_node, "any_of", any_of);
                left = left.subspan(part.size());
            }
        }
    }
    return text;
}

} // namespace nestbed::topology
