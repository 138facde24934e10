#include "report/plan_svg.hpp"

#include <cstddef>
#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Whether every element is closed in its turn and nothing is left of '<' and '&' in texts.
bool is_well_formed(const std::string& svg) {
    std::vector<std::string> open;
    for (std::size_t at = 0; at < svg.size();) {
        if (svg[at] == '&' && !std::regex_search(svg.begin() + static_cast<std::ptrdiff_t>(at), svg.end(),
                                                 std::regex{"^&(amp|lt|gt|quot);"}))
            return false;
        if (svg[at] != '<') {
            ++at;
            continue;
        }
        const auto end = svg.find('>', at);
        if (end == std::string::npos || svg.find('<', at + 1) < end)
            return false;
        const auto tag = svg.substr(at + 1, end - at - 1);
        const auto name = tag.substr(tag.starts_with('/') ? 1 : 0,
                                     tag.find_first_of(" /", 1) - (tag.starts_with('/') ? 1 : 0));
        if (tag.starts_with('/')) {
            if (open.empty() || open.back() != tag.substr(1))
                return false;
            open.pop_back();
        } else if (!tag.ends_with('/')) {
            open.push_back(name);
        }
        at = end + 1;
    }
    return open.empty();
}

struct Rect {
    double x = 0, y = 0, width = 0, height = 0;
    std::string fill;
};

std::vector<Rect> rects(const std::string& svg) {
    static const std::regex pattern{
        R"re(<rect x="([-0-9.]+)" y="([-0-9.]+)" width="([-0-9.]+)" height="([-0-9.]+)" rx="[0-9.]+" fill="([^"]+)")re"};
    std::vector<Rect> found;
    for (std::sregex_iterator at{svg.begin(), svg.end(), pattern}, end; at != end; ++at)
        found.push_back({.x = std::stod((*at)[1]),
                         .y = std::stod((*at)[2]),
                         .width = std::stod((*at)[3]),
                         .height = std::stod((*at)[4]),
                         .fill = (*at)[5]});
    return found;
}

std::size_t squares(const std::string& svg, double cell) {
    std::size_t count = 0;
    for (const auto& rect : rects(svg))
        count += rect.width == cell && rect.height == cell ? 1 : 0;
    return count;
}

TEST(PlanSvg, HasEachPuOnceAndStaysInItsFrame) {
    struct Case {
        std::uint32_t nodes, pus_per_node, vcpus;
        double cell;
    };
    for (const auto& [nodes, pus, vcpus, cell] :
         {Case{1, 2, 1, 36}, {2, 8, 16, 36}, {4, 64, 255, 23}, {4, 64, 288, 23}, {16, 256, 1024, 9}}) {
        SCOPED_TRACE(nodes * pus);
        const auto host = test::example_host(nodes, pus);
        const auto svg = format_svg(test::example_plan(host, vcpus), host);
        EXPECT_THAT(svg, StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\" "));
        if (nodes * pus <= 16) { // the check is slow
            EXPECT_TRUE(is_well_formed(svg));
        }
        EXPECT_EQ(squares(svg, cell), nodes * pus);
        std::smatch frame;
        ASSERT_TRUE(std::regex_search(svg, frame, std::regex{"viewBox=\"0 0 ([0-9]+) ([0-9]+)\""}));
        for (const auto& rect : rects(svg)) {
            EXPECT_GE(rect.x, 0);
            EXPECT_GE(rect.y, 0);
            EXPECT_LE(rect.x + rect.width, std::stod(frame[1]));
            EXPECT_LE(rect.y + rect.height, std::stod(frame[2]));
        }
    }
}

TEST(PlanSvg, ColoursByVirtualNodeAndNamesVcpus) {
    auto host = test::example_host(2, 4);
    auto plan = test::example_plan(host, 4); // two a node
    const auto fills = [&] {
        std::vector<std::string> found;
        for (const auto& rect : rects(format_svg(plan, host)))
            if (rect.width == 36)
                found.push_back(rect.fill);
        return found;
    };
    auto seen = fills();
    ASSERT_EQ(seen.size(), 8U);
    EXPECT_EQ(seen[0], seen[1]);
    EXPECT_EQ(seen[4], seen[5]);
    EXPECT_NE(seen[0], seen[4]);
    EXPECT_EQ(seen[2], seen[7]) << "no vCPU";
    EXPECT_NE(seen[0], seen[2]);
    host.pus[7].allowed = false;
    seen = fills();
    EXPECT_NE(seen[2], seen[7]) << "not allowed";
    EXPECT_THAT(format_svg(plan, host), AllOf(HasSubstr(">3</text>"), Not(HasSubstr(">4</text>")),
                                              HasSubstr("not allowed to this process")));
    for (auto& vcpu : plan.vcpus)
        vcpu.pus = {0};
    EXPECT_THAT(format_svg(plan, host),
                AllOf(HasSubstr(">x4</text>"), HasSubstr("up to 4 vCPUs share a PU")));
    for (auto& vcpu : plan.vcpus)
        vcpu.pus = {};
    EXPECT_THAT(format_svg(plan, host), HasSubstr("no vCPU is pinned to one PU"));
}

// A host's description is a file's name or its text, and a policy may name a file.
TEST(PlanSvg, IsXmlWhateverNamesThereAre) {
    auto host = test::example_host(1, 2);
    host.source = "a<b>&\"c\" \x01\xff";
    auto plan = test::example_plan(host, 2);
    plan.policy = topology::Policy::file;
    plan.policy.path = "</svg><script>";
    const auto svg = format_svg(plan, host);
    EXPECT_TRUE(is_well_formed(svg));
    EXPECT_THAT(svg, AllOf(HasSubstr("a&lt;b&gt;&amp;&quot;c&quot; "),
                           HasSubstr("file:&lt;/svg&gt;&lt;script&gt;"), Not(HasSubstr("\x01")),
                           Not(HasSubstr("\xff"))));
}

} // namespace
} // namespace nestbed::report
