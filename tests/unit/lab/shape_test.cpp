#include "lab/shape.hpp"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

using testing::HasSubstr;

std::string command(const Shape& shape) {
    return fmt::format("{}", fmt::join(qemu_command("/q", shape,
                                                    {.kernel = "/k",
                                                     .initramfs = "/i",
                                                     .command_line = "console=ttyS0 x",
                                                     .console_fd = 3,
                                                     .frames_fd = 4}),
                                       " "));
}

TEST(QemuCommand, SplitsCpusAndMemory) {
    struct Case {
        Shape shape;
        std::vector<std::string> parts;
    };
    for (const auto& [shape, parts] :
         {Case{{.cpus = 2, .nodes = 2, .memory_bytes = 2 * GiB},
               {"-smp 2,sockets=2,cores=1,threads=1", "-m 2048M", "id=m0,size=1024M", "id=m1,size=1024M",
                "nodeid=0,cpus=0-0,memdev=m0", "nodeid=1,cpus=1-1,memdev=m1", "dist,src=0,dst=0,val=10",
                "dist,src=0,dst=1,val=32", "dist,src=1,dst=0,val=32"}},
          Case{{.cpus = 7, .nodes = 3, .memory_bytes = 1000 * MiB},
               {"-smp 7,sockets=7,cores=1,threads=1", "id=m0,size=334M", "id=m1,size=333M", "id=m2,size=333M",
                "nodeid=0,cpus=0-1,", "nodeid=1,cpus=2-3,", "nodeid=2,cpus=4-6,"}},
          Case{{.cpus = 1, .nodes = 4, .memory_bytes = GiB},
               {"-smp 1,sockets=1,cores=1,threads=1", "nodeid=0,cpus=0-0,memdev=m0",
                "node,nodeid=1,memdev=m1", "node,nodeid=2,memdev=m2", "node,nodeid=3,memdev=m3",
                "dist,src=3,dst=0,val=32"}},
          Case{{.cpus = 3, .nodes = 4, .memory_bytes = GiB},
               {"nodeid=0,cpus=0-0,memdev=m0", "nodeid=1,cpus=1-1,memdev=m1", "nodeid=2,cpus=2-2,memdev=m2",
                "node,nodeid=3,memdev=m3"}},
          Case{{.cpus = 8, .nodes = 1, .memory_bytes = GiB},
               {"-smp 8,sockets=1,cores=8,threads=1", "nodeid=0,cpus=0-7,memdev=m0"}}}) {
        for (const auto& part : parts)
            EXPECT_THAT(command(shape), HasSubstr(part));
        EXPECT_THAT(command(shape), testing::Not(HasSubstr(fmt::format("nodeid={}", shape.nodes))));
    }
}

TEST(QemuCommand, BootsWhatItIsGivenAndEndsWithAReset) {
    for (const auto* const part :
         {"/q ", "-kernel /k", "-initrd /i", "-append console=ttyS0 x", "-no-reboot", "-accel tcg",
          "+svm,+npt", "-chardev socket,id=console,fd=3 -serial chardev:console",
          "-chardev socket,id=frames,fd=4 -serial chardev:frames"})
        EXPECT_THAT(command({}), HasSubstr(part));
}

TEST(QemuCommand, AddsFlagsToTheCpu) {
    EXPECT_THAT(command({}), HasSubstr("check=off -smp"));
    EXPECT_THAT(command({.cpu_flags = "+vgif,-npt"}), HasSubstr("+npt,check=off,+vgif,-npt -smp"));
}

TEST(DefaultShape, IntelSiliconHasOneCpu) {
    EXPECT_EQ(default_shape({"check"}).cpus, 2U);
    EXPECT_FALSE(keeps_guests_busy({"check"}));
    EXPECT_FALSE(keeps_guests_busy({}));
    for (const auto* const hard : {"boot", "conform", "stress", "tower"}) {
        EXPECT_TRUE(keeps_guests_busy({hard, "run"})) << hard;
        EXPECT_EQ(default_shape({hard, "run"}).cpus, 1U) << hard;
        EXPECT_EQ(default_shape({hard, "run"}).nodes, 1U) << hard;
    }
    const auto shape = default_shape({"check"}, Silicon::intel);
    EXPECT_EQ(shape.silicon, Silicon::intel);
    EXPECT_TRUE(check_shape(shape));
}

TEST(DefaultShape, CpusAndNodesFollowEachOther) {
    struct Case {
        const char* command;
        Silicon silicon;
        std::optional<std::uint32_t> cpus, nodes;
        std::uint32_t cpus_given, nodes_given;
    };
    for (const auto& [name, silicon, cpus, nodes, cpus_given, nodes_given] : {
             Case{"check", Silicon::amd, {}, {}, 2, 2},
             {"check", Silicon::amd, {}, 4, 4, 4},
             {"check", Silicon::amd, {}, 1, 2, 1},
             {"check", Silicon::amd, 4, {}, 4, 2},
             {"check", Silicon::amd, 1, {}, 1, 1},
             {"check", Silicon::amd, 3, 2, 3, 2},
             {"boot", Silicon::amd, {}, 4, 1, 4},
             {"boot", Silicon::amd, 4, {}, 4, 2},
             {"boot", Silicon::amd, 2, 4, 2, 4},
             {"check", Silicon::intel, {}, 2, 1, 2}, // which check_shape() refuses, as the next
             {"check", Silicon::intel, 2, {}, 2, 1},
         }) {
        const auto shape = default_shape({name}, silicon, cpus, nodes);
        EXPECT_EQ(shape.cpus, cpus_given) << name << " " << cpus.value_or(0) << " " << nodes.value_or(0);
        EXPECT_EQ(shape.nodes, nodes_given) << name << " " << cpus.value_or(0) << " " << nodes.value_or(0);
        EXPECT_EQ(shape.silicon, silicon);
    }
}

TEST(DefaultShape, ATowerHasMemoryForItsLevels) {
    EXPECT_EQ(default_shape({"tower", "--levels", "2"}).memory_bytes, 4 * GiB);
    EXPECT_EQ(default_shape({"check"}).memory_bytes, 2 * GiB);
    EXPECT_TRUE(check_shape(default_shape({"tower"}, Silicon::intel)));
}

TEST(CheckShape, Table) {
    struct Case {
        Shape shape;
        bool good;
    };
    for (const auto& [shape, good] : {
             Case{{}, true},
             Case{{.cpus = 255, .nodes = 8, .memory_bytes = 512 * MiB}, true},
             Case{{.cpus = 1, .nodes = 1, .memory_bytes = 512 * MiB}, true},
             Case{{.cpus = 256, .nodes = 2, .memory_bytes = GiB}, false},
             Case{{.silicon = Silicon::intel, .cpus = 256, .nodes = 1, .engine = Engine::kvm}, true},
             Case{{.cpus = 2, .nodes = 2, .engine = Engine::kvm}, false},
             Case{{.cpus = 0, .nodes = 1, .engine = Engine::kvm}, false},
             Case{{.cpus = 1, .nodes = 1, .cpu_flags = "+vgif", .engine = Engine::kvm}, false},
             Case{{.cpus = 1, .nodes = 2, .memory_bytes = GiB}, true},
             Case{{.cpus = 0, .nodes = 1, .memory_bytes = GiB}, false},
             Case{{.cpus = 0, .nodes = 0, .memory_bytes = GiB}, false},
             Case{{.cpus = 9, .nodes = 9, .memory_bytes = GiB}, false},
             Case{{.cpus = 2, .nodes = 2, .memory_bytes = 511 * MiB}, false},
             Case{{.cpus = 2, .nodes = 2, .memory_bytes = GiB + 1}, false},
             Case{{.cpus = 2, .nodes = 2, .memory_bytes = 1025 * GiB}, false},
             Case{{.silicon = Silicon::intel, .cpus = 1, .nodes = 1}, true},
             Case{{.silicon = Silicon::intel, .cpus = 1, .nodes = 1, .memory_bytes = 4 * GiB}, false},
             Case{{.silicon = Silicon::intel, .cpus = 2, .nodes = 1}, false},
             Case{{.silicon = Silicon::intel}, false},
             Case{{.silicon = Silicon::intel, .cpus = 1, .nodes = 1, .cpu_flags = "+vgif"}, false},
             Case{{.cpu_flags = "+vgif"}, true},
             Case{{.cpu_flags = "+vgif,-npt,+x2apic,-sse4.2"}, true},
             Case{{.cpu_flags = "vgif"}, false},
             Case{{.cpu_flags = "+"}, false},
             Case{{.cpu_flags = "+vgif,"}, false},
             Case{{.cpu_flags = ",+vgif"}, false},
             Case{{.cpu_flags = "+vgif=on"}, false},
             Case{{.cpu_flags = "+a b"}, false},
         }) {
        const auto status = check_shape(shape);
        EXPECT_EQ(status.has_value(), good)
            << shape.cpus << ' ' << shape.nodes << ' ' << shape.memory_bytes << ' ' << shape.cpu_flags;
        if (!status) {
            EXPECT_EQ(status.error().kind, ErrorKind::bad_input);
        }
    }
}

} // namespace
} // namespace nestbed::lab
