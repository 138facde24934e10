// The distribution's stock kernel as a guest of nestbed, in an emulated machine with four NUMA nodes: what it
// makes of the machine, as its first process sees it, is what the plan says.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/boot/decompress.hpp"
#include "lab/archive.hpp"
#include "lab/modules.hpp"
#include "lab/process.hpp"
#include "tests/integration/lab/in_lab.hpp"

namespace nestbed::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr unsigned nodes = 4;

// What keeps an emulated machine busy for nothing. XSAVE: QEMU's SVM has no intercept for XSETBV, so that KVM
// does not know the guest's XCR0, and CPUID tells sizes that the kernel finds wrong.
constexpr const char* kernel_words =
    "console=ttyS0 panic=-1 nowatchdog noxsave tsc=reliable mitigations=off cryptomgr.notests=1";

// All vCPU threads on the one processor that there is, see lab::default_shape(). Their memory is on all
// nodes.
std::string plan_file(unsigned vcpus) {
    auto text = fmt::format("version = 1\npage_size = \"4K\"\ntopology = \"{}x{}\"\n", nodes, vcpus / nodes);
    for (unsigned node = 0; node < nodes; ++node)
        text += fmt::format("[[node]]\nmemory = \"{}M\"\nhost_node = {}\n", 128 + vcpus, node);
    for (unsigned node = 0; node < nodes; ++node)
        text += fmt::format("[[vcpu]]\nvcpus = \"{}-{}\"\nnode = {}\nany_of = \"0\"\n", node * vcpus / nodes,
                            (node + 1) * vcpus / nodes - 1, node);
    return text;
}

std::vector<unsigned> numbers(const std::string& text) {
    std::vector<unsigned> all;
    std::istringstream words{text};
    for (std::string word; std::getline(words, word, ',');)
        all.push_back(static_cast<unsigned>(std::stoul(word)));
    return all;
}

class LinuxGuest : public InLab {
protected:
    // The test's first process, and the drivers of virtio where the kernel has them as modules.
    [[nodiscard]] fs::path initramfs() const {
        std::vector<ArchiveFile> files{
            {.path = "/init", .bytes = {}, .source = NESTBED_GUEST_INIT, .executable = true}};
        unsigned order = 0;
        for (const auto* const name :
             {"virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "rng_core", "virtio_rng"})
            if (const auto file = module_file(name); !file.empty())
                if (const auto bytes = boot::read_decompressed(file, 64 << 20))
                    files.push_back({.path = fmt::format("/modules/{}-{}.ko", order++, name),
                                     .bytes = *bytes,
                                     .source = {},
                                     .executable = false});
        const auto target = folder() / "initramfs.cpio";
        EXPECT_TRUE(write_initramfs(target, files));
        return target;
    }

    struct Booted {
        Finished finished;
        std::map<std::string, std::string> facts; // as the guest's first process told them
    };
    Booted boot(unsigned vcpus, std::vector<std::string> more, std::chrono::seconds patience,
                const std::string& words = kernel_words) {
        const auto plan = write("plan.toml", plan_file(vcpus));
        std::vector<std::string> command{NESTBED_PROGRAM,
                                         "lab",
                                         "--nodes",
                                         std::to_string(nodes),
                                         "--cpus",
                                         "1",
                                         "--memory",
                                         "4G",
                                         "--timeout",
                                         std::to_string(patience.count()),
                                         "--",
                                         "boot",
                                         kernel().image.string(),
                                         "--protocol",
                                         "pvh",
                                         "--initrd",
                                         initramfs().string(),
                                         "--append",
                                         words,
                                         "--plan",
                                         plan.string(),
                                         "--timeout",
                                         "0",
                                         "-o",
                                         (folder() / "out").string()};
        command.insert(command.end(), more.begin(), more.end());
        auto ran = run_to_end({.arguments = std::move(command), .folder = folder().string()}, supervisor(),
                              supervise::Clock::now() + patience + 30s);
        EXPECT_TRUE(ran) << ran.error().message();
        Booted booted{.finished = ran.value_or(Finished{.exit_code = -1, .out = {}, .err = {}}), .facts = {}};
        std::istringstream lines{booted.finished.out};
        for (std::string line; std::getline(lines, line);) {
            while (line.ends_with('\r'))
                line.pop_back();
            const auto equals = line.find(" = ");
            if (line.starts_with("fact ") && equals != std::string::npos)
                booted.facts[line.substr(5, equals - 5)] = line.substr(equals + 3);
        }
        return booted;
    }

    // What does not depend on how many there are.
    static void expect_as_planned(const Booted& booted, unsigned vcpus) {
        auto facts = booted.facts;
        ASSERT_EQ(booted.finished.exit_code, 0) << booted.finished.err << booted.finished.out;
        EXPECT_EQ(facts["cpus.online"], fmt::format("0-{}", vcpus - 1));
        EXPECT_EQ(facts["cpus.packages"], std::to_string(nodes));
        EXPECT_EQ(facts["cpus.cores"], std::to_string(vcpus));
        // One bit field a level: the cores of a socket take as many bits as hold their count.
        std::set<unsigned> planned;
        const auto per_socket = vcpus / nodes;
        unsigned field = 1;
        while (field < per_socket)
            field *= 2;
        for (unsigned vcpu = 0; vcpu < vcpus; ++vcpu)
            planned.insert(vcpu / per_socket * field + vcpu % per_socket);
        const auto seen = numbers(facts["cpus.apic_ids"]);
        EXPECT_EQ(std::set<unsigned>(seen.begin(), seen.end()), planned);
        EXPECT_EQ(seen.size(), vcpus);
        for (unsigned node = 0; node < nodes; ++node) {
            const auto name = fmt::format("node.{}.", node);
            EXPECT_EQ(facts[name + "cpus"],
                      fmt::format("{}-{}", node * per_socket, (node + 1) * per_socket - 1));
            std::istringstream distances{facts[name + "distance"]};
            unsigned distance = 0;
            for (unsigned to = 0; distances >> distance; ++to)
                EXPECT_EQ(distance, node == to ? 10U : 32U) << node << " to " << to;
            EXPECT_GT(std::stoul("0" + facts[name + "memory_kib"]), 64U * 1024) << node;
        }
        // Of family 17h, models 0 to 1Fh, as the lab's CPU is, Linux takes the L3 to be shared by those whose
        // APIC ids differ in three bits, whatever CPUID says.
        EXPECT_THAT(facts["cache.3"],
                    testing::EndsWith(fmt::format("shared by 0-{}", std::min(per_socket, 8U) - 1)));
        EXPECT_EQ(facts["complaints"], "0") << booted.finished.out;
    }

private:
    [[nodiscard]] fs::path module_file(const std::string& name) const {
        for (const auto& module : kernel().modules) {
            // .../lib/modules/RELEASE/kernel/...
            auto root = module.file.parent_path();
            while (root.has_relative_path() && root.filename() != "kernel")
                root = root.parent_path();
            std::error_code error;
            for (auto entry = fs::recursive_directory_iterator{root, error};
                 entry != fs::recursive_directory_iterator{}; entry.increment(error))
                if (is_module_file(entry->path().filename().string()) &&
                    module_name(entry->path().filename().string()) == name)
                    return entry->path();
        }
        return {};
    }
};

TEST_F(LinuxGuest, SeesThePlanOn32Vcpus) {
    const auto disk = write("disk.raw", "first words" + std::string((1 << 20) - 11, '\0'));
    const auto booted = boot(32, {"--disk", "file=" + disk.string()}, 500s);
    expect_as_planned(booted, 32);
    auto facts = booted.facts;
    if (facts.contains("module.2-virtio_mmio.ko")) {
        EXPECT_EQ(facts["disk.bytes"], std::to_string(1 << 20));
        EXPECT_EQ(facts["disk.first"], "first words");
        EXPECT_EQ(facts["disk.written"], "yes");
        EXPECT_EQ(facts["hwrng"], "answers");
    }
}

// Too long for every run: minutes. Until the kernel has its clocks each CPU that is up takes every tick,
// 72000 a second of 288, more than one emulated processor can serve; so most are brought up by the first
// process, when those that are idle take none. Without MTRRs (bit 12 of CPUID.1:EDX), because for each CPU
// that has them and comes later the kernel stops all others, who wait for it in turn on the one processor:
// ten seconds at 200. And apart from the scheduler's domains, which are built anew for each CPU.
TEST_F(LinuxGuest, DISABLED_SeesThePlanOn288Vcpus) {
    const auto words = std::string{kernel_words} + " maxcpus=8 clearcpuid=12 isolcpus=8-287";
    expect_as_planned(boot(288, {}, 2400s, words), 288);
}

} // namespace
} // namespace nestbed::lab
