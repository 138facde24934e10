#include "topology/virtual_topology.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::topology {
namespace {

TEST(ParseShape, ReadsEveryForm) {
    struct Case {
        std::string text;
        Shape shape;
    };
    const Case cases[] = {
        {"288", {.sockets = 1, .dies = 1, .cores = 288, .threads = 1}},
        {"1x312", {.sockets = 1, .dies = 1, .cores = 312, .threads = 1}},
        {"8x18x2", {.sockets = 8, .dies = 1, .cores = 18, .threads = 2}},
        {"2x4x8x2", {.sockets = 2, .dies = 4, .cores = 8, .threads = 2}},
        {"sockets=8,cores=18,threads=2", {.sockets = 8, .dies = 1, .cores = 18, .threads = 2}},
        {"threads=2,dies=3", {.sockets = 1, .dies = 3, .cores = 1, .threads = 2}},
    };
    for (const auto& [text, shape] : cases) {
        const auto parsed = parse_shape(text);
        ASSERT_TRUE(parsed) << text << ": " << parsed.error().message();
        EXPECT_EQ(*parsed, shape) << text;
    }
}

TEST(ParseShape, RefusesWithTheTextInTheError) {
    for (const std::string text : {"",
                                   "x",
                                   "8x",
                                   "x8",
                                   "0",
                                   "8x0x2",
                                   "-8x2",
                                   "8x2.5",
                                   "1x2x3x4x5",
                                   "8 x 2",
                                   "cores=",
                                   "cores=0",
                                   "cores",
                                   "core=4",
                                   "cores=4,cores=4",
                                   "cores=4,",
                                   "1048577",
                                   "1024x1024x2",
                                   "65536x65536x65536x65536",
                                   "99999999999999999999"}) {
        const auto parsed = parse_shape(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input) << text;
        EXPECT_NE(parsed.error().asked.find("\"" + text + "\""), std::string::npos) << text;
        EXPECT_FALSE(parsed.error().remedy.empty()) << text;
    }
}

TEST(FormatShape, IsReadBack) {
    for (const std::string text : {"1x1x1x1", "1x1x312x1", "3x1x5x2", "8x1x1x36", "2x4x8x2"}) {
        const auto parsed = parse_shape(text);
        ASSERT_TRUE(parsed) << text;
        EXPECT_EQ(format_shape(*parsed), text);
    }
}

TEST(FieldWidths, AreTheNextPowerOfTwo) {
    struct Case {
        Shape shape;
        FieldWidths widths;
        std::uint32_t max_apic_id;
    };
    const Case cases[] = {
        {{}, {.thread = 0, .core = 0, .die = 0}, 0},
        {{.cores = 255}, {.thread = 0, .core = 8, .die = 0}, 254},
        {{.cores = 256}, {.thread = 0, .core = 8, .die = 0}, 255},
        {{.cores = 257}, {.thread = 0, .core = 9, .die = 0}, 256},
        {{.cores = 312}, {.thread = 0, .core = 9, .die = 0}, 311},
        {{.sockets = 3, .cores = 5, .threads = 2}, {.thread = 1, .core = 3, .die = 0}, 0x29},
        {{.sockets = 8, .cores = 1, .threads = 36}, {.thread = 6, .core = 0, .die = 0}, 0x1e3},
        {{.sockets = 8, .cores = 18, .threads = 2}, {.thread = 1, .core = 5, .die = 0}, 0x1e3},
        {{.sockets = 2, .dies = 3, .cores = 5, .threads = 2}, {.thread = 1, .core = 3, .die = 2}, 0x69},
    };
    for (const auto& [shape, widths, max_id] : cases) {
        EXPECT_EQ(field_widths(shape), widths) << format_shape(shape);
        EXPECT_EQ(max_apic_id(shape), max_id) << format_shape(shape);
    }
}

TEST(ApicIds, IncreaseAndHoldThePosition) {
    std::vector<Shape> shapes;
    for (const std::uint32_t flat : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 512U, 1024U})
        shapes.push_back({.cores = flat});
    for (const auto* text : {"1x312", "3x5x2", "8x1x36", "8x18x2", "2x3x5x2", "16x64", "288x1"})
        shapes.push_back(*parse_shape(text));
    for (const auto& shape : shapes) {
        const auto widths = field_widths(shape);
        for (std::uint32_t vcpu = 0; vcpu < vcpu_count(shape); ++vcpu) {
            const auto id = apic_id_of(shape, vcpu);
            if (vcpu > 0) {
                ASSERT_GT(id, apic_id_of(shape, vcpu - 1)) << format_shape(shape) << " vCPU " << vcpu;
            }
            ASSERT_GE(id, vcpu) << format_shape(shape);
            const auto field = [&](unsigned shift, unsigned width) {
                return id >> shift & ((1U << width) - 1);
            };
            const Position decoded{.socket = id >> widths.socket_shift(),
                                   .die = field(widths.die_shift(), widths.die),
                                   .core = field(widths.core_shift(), widths.core),
                                   .thread = field(0, widths.thread)};
            ASSERT_EQ(decoded, position_of(shape, vcpu)) << format_shape(shape) << " vCPU " << vcpu;
            ASSERT_LT(decoded.core, shape.cores);
            ASSERT_LT(decoded.thread, shape.threads);
        }
        EXPECT_EQ(apic_id_of(shape, static_cast<std::uint32_t>(vcpu_count(shape)) - 1), max_apic_id(shape));
    }
}

} // namespace
} // namespace nestbed::topology
