#include "report/plan_svg.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "base/units.hpp"

namespace nestbed::report {

namespace {

// In user units, which are pixels.
constexpr double margin = 24;
constexpr double title_height = 80;
constexpr double legend_column = 236;
constexpr double legend_row = 22;

// For XML; what is not printable is '?'.
std::string escape(std::string_view text) {
    std::string safe;
    for (const char c : printable(text))
        switch (c) {
        case '&':
            safe += "&amp;";
            break;
        case '<':
            safe += "&lt;";
            break;
        case '>':
            safe += "&gt;";
            break;
        case '"':
            safe += "&quot;";
            break;
        default:
            safe += c;
        }
    return safe;
}

// Hues apart by the golden angle, so that any number of neighbours differ; `load` from 0 to 1 darkens.
std::string color(std::uint32_t number, double load) {
    const auto hue = std::fmod(210.0 + number * 137.508, 360.0) / 60.0;
    const auto lightness = 0.66 - 0.26 * load;
    const auto chroma = (1 - std::abs(2 * lightness - 1)) * 0.58;
    const auto second = chroma * (1 - std::abs(std::fmod(hue, 2.0) - 1));
    const std::array<std::array<double, 3>, 6> sectors{{{chroma, second, 0},
                                                        {second, chroma, 0},
                                                        {0, chroma, second},
                                                        {0, second, chroma},
                                                        {second, 0, chroma},
                                                        {chroma, 0, second}}};
    const auto& sector = sectors.at(std::min<std::size_t>(static_cast<std::size_t>(hue), 5));
    const auto byte = [&](double part) {
        return static_cast<unsigned>(std::lround(255 * (part + lightness - chroma / 2)));
    };
    return fmt::format("#{:02x}{:02x}{:02x}", byte(sector[0]), byte(sector[1]), byte(sector[2]));
}

// Text of about so many pixels a letter, cut to fit.
std::string cut(std::string text, double width, double font) {
    const auto letters = static_cast<std::size_t>(std::max(0.0, width / (font * 0.56)));
    if (text.size() <= letters)
        return text;
    if (letters < 4)
        return {};
    text.resize(letters - 2);
    return text + "..";
}

enum class Kind { machine, package, node, llc, core, pu };

struct Box {
    Kind kind = Kind::pu;
    std::string title;
    std::uint32_t pu = 0; // index into host.pus, of a PU
    std::vector<Box> inner{};
    double x = 0, y = 0, width = 0, height = 0; // x and y within the box around it
};

struct Style {
    double cell = 0;          // of a PU
    double gap = 0, pad = 0;  // between boxes, and around what is in one
    double font = 0;          // of titles
    bool has_numbers = false; // in the cells
};

Style style_for(std::size_t pus) {
    if (pus <= 64)
        return {.cell = 36, .gap = 8, .pad = 9, .font = 13, .has_numbers = true};
    if (pus <= 640)
        return {.cell = 23, .gap = 5, .pad = 6, .font = 12, .has_numbers = true};
    return {.cell = 9, .gap = 3, .pad = 4, .font = 11, .has_numbers = false};
}

// What each PU has to run, by os index.
using Residents = std::map<std::uint32_t, std::vector<const topology::VcpuPlacement*>>;

class Drawing {
public:
    Drawing(const topology::Plan& plan, const topology::Host& host)
        : _plan{plan}, _host{host}, _style{style_for(host.pus.size())} {
        for (const auto& vcpu : plan.vcpus)
            if (vcpu.pus.size() == 1)
                _residents[vcpu.pus.front()].push_back(&vcpu);
        for (const auto& [pu, vcpus] : _residents)
            _most = std::max(_most, vcpus.size());
    }

    std::string draw() {
        auto machine = build();
        arrange(machine);
        const auto columns = std::max<std::size_t>(
            1, static_cast<std::size_t>(std::max(machine.width, 620.0) / legend_column));
        const auto rows = (std::min(_plan.nodes.size(), most_in_legend) + 2 + columns - 1) / columns;
        const auto width = std::max(machine.width, 620.0) + 2 * margin;
        const auto legend_height = static_cast<double>(rows) * legend_row + 10;
        const auto height = machine.height + 2 * margin + title_height + legend_height;
        _text =
            fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
                        "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n"
                        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
                        width, height);
        draw_title(width);
        draw_box(machine, margin + (width - 2 * margin - machine.width) / 2, margin + title_height);
        draw_legend(margin + title_height + machine.height + 14, columns);
        return _text + "</svg>\n";
    }

private:
    static constexpr std::size_t most_in_legend = 32;

    // PUs come in the order in which units are next to each other: only the last box of a kind is open.
    Box build() const {
        Box machine{.kind = Kind::machine, .title = {}};
        std::optional<std::array<std::uint32_t, 4>> last;
        for (std::uint32_t i = 0; i < _host.pus.size(); ++i) {
            const auto& pu = _host.pus[i];
            const std::array key{pu.package, pu.node.value_or(0), pu.llc, pu.core};
            const auto is_new = [&](std::size_t levels) {
                return !last || !std::equal(key.begin(), key.begin() + static_cast<std::ptrdiff_t>(levels),
                                            last->begin());
            };
            if (is_new(1))
                machine.inner.push_back(
                    {.kind = Kind::package, .title = fmt::format("package {}", pu.package)});
            auto& package = machine.inner.back();
            if (is_new(2))
                package.inner.push_back({.kind = Kind::node, .title = node_title(pu)});
            auto& node = package.inner.back();
            if (is_new(3))
                node.inner.push_back({.kind = Kind::llc, .title = {}});
            auto& llc = node.inner.back();
            if (is_new(4))
                llc.inner.push_back({.kind = Kind::core, .title = {}});
            llc.inner.back().inner.push_back({.kind = Kind::pu, .title = {}, .pu = i});
            last = key;
        }
        return machine;
    }

    [[nodiscard]] std::string node_title(const topology::Pu& pu) const {
        if (!pu.node)
            return "no node";
        const auto& node = _host.nodes[*pu.node];
        auto title = fmt::format("node {}", node.os_index);
        if (node.memory_bytes > 0)
            title += ", " + format_size(node.memory_bytes);
        for (const auto& virtual_node : _plan.nodes)
            if (virtual_node.host_node == node.os_index)
                title += fmt::format(": vnode {}", virtual_node.virtual_node);
        return title;
    }

    // Wider than high, as screens are, and no ragged last row where there is a way around it.
    static double best_columns(double count, double width, double height) {
        constexpr double wanted = 1.6, ragged = 0.5;
        double best = 1, least = std::numeric_limits<double>::max();
        for (double columns = 1; columns <= count; ++columns) {
            const auto rows = std::ceil(count / columns);
            const auto aspect = columns * width / (rows * height);
            const auto penalty =
                std::abs(std::log(aspect / wanted)) + (rows * columns > count ? ragged : 0.0);
            if (penalty < least) {
                least = penalty;
                best = columns;
            }
        }
        return best;
    }

    void arrange(Box& box) const {
        if (box.kind == Kind::pu) {
            box.width = box.height = _style.cell;
            return;
        }
        for (auto& each : box.inner)
            arrange(each);
        const auto count = static_cast<double>(box.inner.size());
        double widest = 0, highest = 0;
        for (const auto& each : box.inner) {
            widest = std::max(widest, each.width);
            highest = std::max(highest, each.height);
        }
        const auto even_columns = box.kind == Kind::core ? 1.0 : best_columns(count, widest, highest);
        const auto rows_used = std::ceil(count / even_columns);
        const auto pad = box.kind == Kind::machine ? 0 : box.kind == Kind::core ? 1.5 : _style.pad;
        const auto gap = box.kind == Kind::core      ? 1.0
                         : box.kind == Kind::llc     ? std::max(2.0, _style.gap / 2)
                         : box.kind == Kind::machine ? 2 * _style.gap + 4
                                                     : _style.gap;
        const auto head = box.title.empty() ? 0 : _style.font + 6;
        for (std::size_t i = 0; i < box.inner.size(); ++i) {
            const auto column = static_cast<double>(i % static_cast<std::size_t>(even_columns));
            const auto row = static_cast<double>(i / static_cast<std::size_t>(even_columns));
            box.inner[i].x = pad + column * (widest + gap);
            box.inner[i].y = pad + head + row * (highest + gap);
        }
        box.width = 2 * pad + even_columns * (widest + gap) - gap;
        box.height = 2 * pad + head + rows_used * (highest + gap) - gap;
    }

    void rect(double x, double y, double width, double height, double radius, std::string_view fill,
              std::string_view stroke) {
        _text +=
            fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"{:.1f}\" "
                        "fill=\"{}\" stroke=\"{}\"/>\n",
                        x, y, width, height, radius, fill, stroke);
    }

    void text(double x, double y, double font, std::string_view words,
              std::string_view more = "fill=\"#333\"") {
        if (!words.empty())
            _text += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.1f}\" {}>{}</text>\n", x, y,
                                 font, more, escape(words));
    }

    void draw_box(const Box& box, double x, double y) {
        switch (box.kind) {
        case Kind::machine:
            break;
        case Kind::package:
            rect(x, y, box.width, box.height, 7, "#f4f5f7", "#b4bac4");
            break;
        case Kind::node:
            rect(x, y, box.width, box.height, 5, "#ffffff", "#c6ccd6");
            break;
        case Kind::llc:
            rect(x, y, box.width, box.height, 4, "#eef1f5", "#dde2ea");
            break;
        case Kind::core:
            rect(x, y, box.width, box.height, 2.5, "#ffffff", "#ccd3dd");
            break;
        case Kind::pu:
            draw_pu(_host.pus[box.pu], x, y);
            return;
        }
        const auto pad = _style.pad;
        text(x + pad, y + pad + _style.font - 2, _style.font,
             cut(box.title, box.width - 2 * pad, _style.font),
             box.kind == Kind::package ? "fill=\"#222\" font-weight=\"bold\"" : "fill=\"#555\"");
        for (const auto& each : box.inner)
            draw_box(each, x + each.x, y + each.y);
    }

    void draw_pu(const topology::Pu& pu, double x, double y) {
        const auto at = _residents.find(pu.os_index);
        const auto cell = _style.cell;
        if (at == _residents.end()) {
            rect(x, y, cell, cell, 2, pu.allowed ? "#f7f8fa" : "#9aa1ab", pu.allowed ? "#e3e7ed" : "#7c838d");
            return;
        }
        const auto& vcpus = at->second;
        const auto load = _most > 1 ? static_cast<double>(vcpus.size()) / static_cast<double>(_most) : 0.25;
        rect(x, y, cell, cell, 2, color(vcpus.front()->virtual_node, load), "none");
        if (!_style.has_numbers)
            return;
        const auto words =
            vcpus.size() == 1 ? fmt::format("{}", vcpus.front()->vcpu) : fmt::format("x{}", vcpus.size());
        const auto font = std::min(cell * 0.42, (cell - 2) / (0.62 * static_cast<double>(words.size())));
        text(x + cell / 2, y + cell / 2 + font * 0.36, font, words,
             load > 0.6 ? "fill=\"#fff\" text-anchor=\"middle\"" : "fill=\"#16202c\" text-anchor=\"middle\"");
    }

    void draw_title(double width) {
        const auto head = fmt::format("{} vCPUs by policy {}", _plan.vcpus.size(), to_string(_plan.policy));
        text(margin, margin + 20, 20, cut(head, width - 2 * margin, 20),
             "fill=\"#111\" font-weight=\"bold\"");
        const auto add = [&](double y, const std::string& words) {
            text(margin, margin + y, 13, cut(words, width - 2 * margin, 13), "fill=\"#555\"");
        };
        add(44, fmt::format("Host {}: {} nodes, {} cores, {} PUs", _host.source, _host.nodes.size(),
                            _host.cores, _host.pus.size()));
        auto guest = fmt::format("Shown to the guest as {}, {} in {} virtual node{}",
                                 format_shape(_plan.shape), format_size(_plan.memory_bytes()),
                                 _plan.nodes.size(), _plan.nodes.size() == 1 ? "" : "s");
        if (_residents.empty())
            guest += "; no vCPU is pinned to one PU";
        else if (_most > 1)
            guest += fmt::format("; up to {} vCPUs share a PU (xN)", _most);
        add(62, guest);
    }

    void draw_legend(double y, std::size_t columns) {
        std::vector<std::uint32_t> members(_plan.nodes.size());
        for (const auto& vcpu : _plan.vcpus)
            ++members[vcpu.virtual_node];
        std::size_t entry = 0;
        const auto add = [&](std::string_view fill, std::string_view stroke, const std::string& words) {
            const auto left = margin + static_cast<double>(entry % columns) * legend_column;
            const auto top = y + static_cast<double>(entry / columns) * legend_row;
            rect(left, top, 14, 14, 2, fill, stroke);
            text(left + 20, top + 11.5, 12, cut(words, legend_column - 26, 12));
            ++entry;
        };
        const auto shown = std::min(_plan.nodes.size(), most_in_legend);
        for (std::size_t i = 0; i < shown; ++i)
            add(color(_plan.nodes[i].virtual_node, 0.25), "none",
                fmt::format("vnode {}: {} vCPUs, {}", i, members[i],
                            format_size(_plan.nodes[i].memory_bytes)));
        add("#f7f8fa", "#c9d0da",
            shown < _plan.nodes.size() ? fmt::format("no vCPU; {} more vnodes", _plan.nodes.size() - shown)
                                       : std::string{"no vCPU"});
        if (std::any_of(_host.pus.begin(), _host.pus.end(), [](const auto& pu) { return !pu.allowed; }))
            add("#9aa1ab", "#7c838d", "not allowed to this process");
    }

    const topology::Plan& _plan;
    const topology::Host& _host;
    Style _style;
    Residents _residents;
    std::size_t _most = 0; // vCPUs on one PU
    std::string _text;
};

} // namespace

std::string format_svg(const topology::Plan& plan, const topology::Host& host) {
    return Drawing{plan, host}.draw();
}

} // namespace nestbed::report
