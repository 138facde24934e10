#include "report/host_check.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "report/host_check_text.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {

static void PrintTo(const HostFinding& finding, std::ostream* out) {
    *out << to_string(finding.level) << ' ' << finding.name << ": " << finding.found << " | "
         << finding.remedy;
}

namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Nothing to complain about at 1024 vCPUs.
HostState perfect_host() {
    HostState state;
    auto& facts = state.facts;
    facts.cpu_model = "AMD EPYC 7713";
    facts.kvm_module = "kvm_amd";
    facts.module_parameters = {{"kvm_amd.nested", "1"}, {"kvm_amd.npt", "Y"}, {"kvm_amd.dump_invalid", "N"}};
    facts.kvm_capabilities = {
        {"KVM_CAP_NR_VCPUS", 128},    {"KVM_CAP_MAX_VCPUS", 1024}, {"KVM_CAP_MAX_VCPU_ID", 4096},
        {"KVM_CAP_SPLIT_IRQCHIP", 1}, {"KVM_CAP_X2APIC_API", 3},   {"KVM_CAP_IMMEDIATE_EXIT", 1},
        {"KVM_CAP_SIGNAL_MSI", 1},    {"KVM_CAP_IOEVENTFD", 1},
    };
    facts.limits = {{"nofile", 1024},
                    {"nofile_hard", 524288},
                    {"nproc", 60000},
                    {"memlock", 8 * MiB},
                    {"kernel.threads-max", 500000},
                    {"kernel.pid_max", 4194304},
                    {"vm.max_map_count", 65530},
                    {"cgroup.pids.max", std::nullopt}};
    facts.topology = test::example_host(2, 64);
    for (auto& node : facts.topology->nodes)
        node.huge_pages = {{.page_bytes = 2 * MiB, .total = 100, .free = 90},
                           {.page_bytes = GiB, .total = 2, .free = 2}};
    state.nested = {
        .extension = nested::Extension::svm, .reason = "CPUID leaf 0x80000001 has SVM", .remedy = {}};
    return state;
}

Error open_error(int number) {
    return {.kind = ErrorKind::host_lacks,
            .asked = "open /dev/kvm",
            .found = errno_text(number),
            .remedy = "prose"};
}

std::vector<HostFinding> shortfalls(const std::vector<HostFinding>& findings) {
    std::vector<HostFinding> bad;
    std::ranges::copy_if(findings, std::back_inserter(bad),
                         [](const HostFinding& finding) { return finding.level != Level::ok; });
    return bad;
}

TEST(HostCheck, FindsNothingWrongWithAPerfectHost) {
    const auto findings = judge_host(perfect_host(), test::example_needs, 1024);
    EXPECT_THAT(shortfalls(findings), IsEmpty());
    EXPECT_TRUE(all_vcpus_run(findings));
    EXPECT_TRUE(any_guest_runs(findings));
    for (const auto& finding : findings)
        EXPECT_THAT(finding.remedy, IsEmpty()) << finding.name;
}

struct Shortfall {
    std::string name; // of the case
    std::function<void(HostState&)> spoil;
    std::string finding;
    Level level = Level::falls_short;
    NeededBy needed_by = NeededBy::every_guest;
    std::string found;  // a part of it
    std::string remedy; // all of it
};

void PrintTo(const Shortfall& one, std::ostream* out) {
    *out << one.name;
}

auto set_limit(std::string limit, std::uint64_t value) {
    return [limit = std::move(limit), value](HostState& state) { state.facts.limits[limit] = value; };
}

auto set_capability(std::string capability, std::int64_t value) {
    return [capability = std::move(capability), value](HostState& state) {
        state.facts.kvm_capabilities[capability] = value;
    };
}

auto set_free_pages(std::uint64_t page_bytes, std::uint64_t free) {
    return [=](HostState& state) {
        for (auto& node : state.facts.topology->nodes)
            for (auto& pool : node.huge_pages)
                if (pool.page_bytes == page_bytes)
                    pool.free = free;
    };
}

auto set_free_memory(std::uint64_t bytes) {
    return [=](HostState& state) {
        for (auto& node : state.facts.topology->nodes)
            node.free_bytes = bytes;
    };
}

auto set_error(Error error) {
    return [=](HostState& state) { state.kvm_error = error; };
}

// What follows from 1024 vCPUs: 192 MiB of guest memory, 2176 files, 1088 threads, 4096 maps.
const std::vector<Shortfall> table{
    {"no_topology", [](HostState& state) { state.facts.topology.reset(); }, "CPUs", Level::missing,
     NeededBy::every_guest, "cannot be read", "lstopo-no-graphics --verbose"},
    {"no_cpu_allowed",
     [](HostState& state) {
         for (auto& pu : state.facts.topology->pus)
             pu.allowed = false;
     },
     "CPUs", Level::missing, NeededBy::every_guest, "0 of 128 allowed", "taskset --pid --cpu-list 0-127 $$"},
    {"too_little_memory", set_free_memory(100 * MiB), "memory", Level::falls_short, NeededBy::every_guest,
     "200 MiB free of 1 TiB", "nestbed validate --vcpus 864"},
    {"no_memory", set_free_memory(MiB), "memory", Level::falls_short, NeededBy::every_guest, "2 MiB free",
     "stop something of `ps -eo rss,pid,comm --sort=-rss | head`"},
    {"few_2m_pages", set_free_pages(2 * MiB, 47), "huge pages 2M", Level::falls_short, NeededBy::an_option,
     "94 free of 200", "echo 202 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"},
    {"a_1g_page_for_one_node", set_free_pages(GiB, 0), "huge pages 1G", Level::falls_short,
     NeededBy::an_option, "0 free of 4",
     "echo 6 | sudo tee /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"},
    {"no_1g_pages",
     [](HostState& state) {
         for (auto& node : state.facts.topology->nodes)
             node.huge_pages.pop_back();
     },
     "huge pages 1G", Level::falls_short, NeededBy::an_option, "no such pages", "run without --hugepages 1G"},
    {"device_node_absent", set_error(open_error(ENOENT)), "/dev/kvm", Level::missing, NeededBy::every_guest,
     "(ENOENT)", "sudo mknod -m 660 /dev/kvm c 10 232"},
    {"device_denied", set_error(open_error(EACCES)), "/dev/kvm", Level::missing, NeededBy::every_guest,
     "(EACCES)", "sudo usermod -aG kvm $USER && newgrp kvm"},
    {"device_without_driver", set_error(open_error(ENODEV)), "/dev/kvm", Level::missing,
     NeededBy::every_guest, "(ENODEV)", "sudo modprobe kvm_amd"},
    {"foreign_api",
     set_error({ErrorKind::host_lacks, "use /dev/kvm", "API version 11", "use a Linux 2.6.22 or newer"}),
     "/dev/kvm", Level::missing, NeededBy::every_guest, "API version 11", "use a Linux 2.6.22 or newer"},
    {"few_vcpus", set_capability("KVM_CAP_MAX_VCPUS", 288), "max vCPUs", Level::falls_short,
     NeededBy::every_guest, "288, 128 recommended", "nestbed validate --vcpus 288"},
    {"no_vcpus", set_capability("KVM_CAP_MAX_VCPUS", 0), "max vCPUs", Level::missing, NeededBy::every_guest,
     "0,", "use a kernel whose KVM tells KVM_CAP_MAX_VCPUS (Linux 3.2)"},
    {"few_ids", set_capability("KVM_CAP_MAX_VCPU_ID", 1023), "vCPU ids", Level::falls_short,
     NeededBy::every_guest, "1023", "nestbed validate --vcpus 1023 --topology 1023"},
    {"no_split_irqchip", set_capability("KVM_CAP_SPLIT_IRQCHIP", 0), "split irqchip", Level::missing,
     NeededBy::every_guest, "not there", "boot Linux 4.4 or newer"},
    {"no_x2apic_api", set_capability("KVM_CAP_X2APIC_API", 0), "x2APIC ids", Level::missing,
     NeededBy::every_guest, "not there", "boot Linux 4.7 or newer"},
    {"half_an_x2apic_api", set_capability("KVM_CAP_X2APIC_API", 1), "x2APIC ids", Level::missing,
     NeededBy::every_guest, "only flags 0x1", "boot Linux 4.7 or newer"},
    {"no_immediate_exit", set_capability("KVM_CAP_IMMEDIATE_EXIT", 0), "immediate exit", Level::missing,
     NeededBy::every_guest, "not there", "boot Linux 4.13 or newer"},
    {"no_signal_msi", set_capability("KVM_CAP_SIGNAL_MSI", 0), "MSI by ioctl", Level::missing,
     NeededBy::every_guest, "not there", "boot Linux 3.5 or newer"},
    {"no_ioeventfd", set_capability("KVM_CAP_IOEVENTFD", 0), "doorbells", Level::missing,
     NeededBy::every_guest, "not there", "boot Linux 2.6.32 or newer"},
    {"nested_off",
     [](HostState& state) {
         state.nested = {nested::Extension::none, "kvm_amd.nested is 0", "sudo modprobe kvm_amd nested=1"};
     },
     "nested", Level::falls_short, NeededBy::an_option, "kvm_amd.nested is 0",
     "sudo modprobe kvm_amd nested=1"},
    {"no_nesting",
     [](HostState& state) {
         state.nested = {nested::Extension::none, "kvm_pvm has no nesting", ""};
     },
     "nested", Level::falls_short, NeededBy::an_option, "kvm_pvm has no nesting",
     "use a host whose kvm_intel or kvm_amd has nested=1, or the emulated one of the lab"},
    {"few_files", set_limit("nofile_hard", 2175), "open files", Level::falls_short, NeededBy::every_guest,
     "2175 (nofile_hard)", "sudo prlimit --pid $$ --nofile=2176"},
    {"few_threads_of_the_user", set_limit("nproc", 1087), "threads of a user", Level::falls_short,
     NeededBy::every_guest, "1087 (nproc)", "sudo prlimit --pid $$ --nproc=4352"},
    {"few_threads", set_limit("kernel.threads-max", 1087), "threads", Level::falls_short,
     NeededBy::every_guest, "1087 (kernel.threads-max)", "sudo sysctl -w kernel.threads-max=4352"},
    {"few_thread_ids", set_limit("kernel.pid_max", 1087), "thread ids", Level::falls_short,
     NeededBy::every_guest, "1087 (kernel.pid_max)", "sudo sysctl -w kernel.pid_max=32768"},
    {"few_threads_of_the_cgroup", set_limit("cgroup.pids.max", 1087), "threads of the cgroup",
     Level::falls_short, NeededBy::every_guest, "1087 (cgroup.pids.max)",
     "sudo systemctl set-property user-$(id -u).slice TasksMax=4352"},
    {"few_maps", set_limit("vm.max_map_count", 4095), "memory maps", Level::falls_short,
     NeededBy::every_guest, "4095 (vm.max_map_count)", "sudo sysctl -w vm.max_map_count=65530"},
};

class HostShortfall : public testing::TestWithParam<Shortfall> {};

TEST_P(HostShortfall, HasItsOwnFindingAndRemedy) {
    const auto& expected = GetParam();
    auto state = perfect_host();
    expected.spoil(state);
    const auto findings = judge_host(state, test::example_needs, 1024);
    const auto bad = shortfalls(findings);
    ASSERT_EQ(bad.size(), 1U) << testing::PrintToString(bad);
    EXPECT_EQ(bad[0].name, expected.finding);
    EXPECT_EQ(bad[0].level, expected.level);
    EXPECT_EQ(bad[0].needed_by, expected.needed_by);
    EXPECT_THAT(bad[0].found, HasSubstr(expected.found));
    EXPECT_EQ(bad[0].remedy, expected.remedy);
    EXPECT_EQ(all_vcpus_run(findings), expected.needed_by == NeededBy::an_option);
    EXPECT_EQ(any_guest_runs(findings), expected.level != Level::missing);
}

INSTANTIATE_TEST_SUITE_P(Each, HostShortfall, testing::ValuesIn(table),
                         [](const auto& one) { return one.param.name; });

struct Enough {
    std::string name;
    std::function<void(HostState&)> change;
};

void PrintTo(const Enough& one, std::ostream* out) {
    *out << one.name;
}

// One more of each would be needed for one vCPU more; unknown is no shortfall.
const std::vector<Enough> just_enough{
    {"files", set_limit("nofile_hard", 2176)},
    {"threads", set_limit("kernel.threads-max", 1088)},
    {"maps", set_limit("vm.max_map_count", 4096)},
    {"ids", set_capability("KVM_CAP_MAX_VCPU_ID", 1024)},
    {"ids_not_told", set_capability("KVM_CAP_MAX_VCPU_ID", 0)},
    {"memory", set_free_memory(112 * MiB)},
    {"pages", set_free_pages(2 * MiB, 48)},
    {"a_1g_page_a_node", set_free_pages(GiB, 1)},
    {"limits_not_known", [](HostState& state) { state.facts.limits.clear(); }},
    {"module_not_known", [](HostState& state) { state.facts.kvm_module.clear(); }},
};

class HostEnough : public testing::TestWithParam<Enough> {};

TEST_P(HostEnough, IsNoShortfall) {
    auto state = perfect_host();
    GetParam().change(state);
    EXPECT_THAT(shortfalls(judge_host(state, test::example_needs, 1024)), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Each, HostEnough, testing::ValuesIn(just_enough),
                         [](const auto& one) { return one.param.name; });

struct Unloaded {
    std::string name;
    std::string cpu_model;
    std::string remedy;
};

void PrintTo(const Unloaded& one, std::ostream* out) {
    *out << one.name;
}

class HostWithoutModule : public testing::TestWithParam<Unloaded> {};

TEST_P(HostWithoutModule, GetsTheOneOfItsCpu) {
    auto state = perfect_host();
    state.facts.cpu_model = GetParam().cpu_model;
    state.facts.kvm_module.clear();
    state.kvm_error = open_error(ENOENT);
    state.nested = nested::offer_of({});
    const auto bad = shortfalls(judge_host(state, test::example_needs, 1024));
    ASSERT_EQ(bad.size(), 3U) << testing::PrintToString(bad);
    EXPECT_EQ(bad[0].name, "/dev/kvm");
    EXPECT_EQ(bad[0].remedy, GetParam().remedy);
    EXPECT_EQ(bad[1].name, "KVM module");
    EXPECT_EQ(bad[1].remedy, GetParam().remedy);
    EXPECT_EQ(bad[2].name, "nested");
    EXPECT_EQ(bad[2].remedy, "mend /dev/kvm first");
}

INSTANTIATE_TEST_SUITE_P(Each, HostWithoutModule,
                         testing::Values(Unloaded{"amd", "AMD EPYC 7713", "sudo modprobe kvm_amd"},
                                         Unloaded{"intel", "Intel(R) Xeon(R) Gold 6338",
                                                  "sudo modprobe kvm_intel"}),
                         [](const auto& one) { return one.param.name; });

TEST(HostCheck, ShowsTheParametersThatDecide) {
    const auto findings = judge_host(perfect_host(), test::example_needs, 1024);
    const auto module = std::ranges::find(findings, "KVM module", &HostFinding::name);
    ASSERT_NE(module, findings.end());
    EXPECT_EQ(module->found, "kvm_amd nested=1 npt=Y");
}

TEST(HostCheck, LeavesOutNodesThatMayNotBeUsed) {
    auto state = perfect_host();
    state.facts.topology->nodes[0].allowed = false;
    state.facts.topology->nodes[1].free_bytes = 100 * MiB;
    const auto bad = shortfalls(judge_host(state, test::example_needs, 1024));
    ASSERT_FALSE(bad.empty());
    EXPECT_EQ(bad[0].name, "memory");
    EXPECT_THAT(bad[0].found, HasSubstr("100 MiB free of 512 GiB"));
}

TEST(HostCheck, MissesNodesWithMemory) {
    auto state = perfect_host();
    for (auto& node : state.facts.topology->nodes)
        node.memory_bytes = 0;
    const auto bad = shortfalls(judge_host(state, test::example_needs, 1024));
    ASSERT_FALSE(bad.empty());
    EXPECT_EQ(bad[0].name, "NUMA nodes");
    EXPECT_EQ(bad[0].found, "0 with memory, of 2");
    EXPECT_EQ(bad[0].remedy, "numactl --show");
}

TEST(HostCheck, ConcludesForEachCount) {
    auto state = perfect_host();
    state.facts.kvm_capabilities["KVM_CAP_MAX_VCPUS"] = 512;
    constexpr std::array<std::uint32_t, 3> counts{1, 288, 1024};
    EXPECT_EQ(conclude(state, test::example_needs, counts),
              "1 vCPU: yes; 288 vCPUs: yes; 1024 vCPUs: no (max vCPUs); nested: SVM");
    state.nested = {nested::Extension::none, "kvm_amd.nested is 0", ""};
    EXPECT_THAT(conclude(state, test::example_needs, counts), HasSubstr("nested: no (kvm_amd.nested is 0)"));
}

const std::array<HostFinding, 3> some_findings{
    HostFinding{"CPUs", Level::ok, NeededBy::every_guest, "1 or more", "2 of 2 allowed", ""},
    HostFinding{"nested", Level::falls_short, NeededBy::an_option, "VMX", "kvm_amd.nested is 0",
                "sudo modprobe x"},
    HostFinding{"/dev/kvm", Level::missing, NeededBy::every_guest, "API", "gone", ""}};

TEST(HostCheckText, AlignsColumnsAndIndentsRemedies) {
    EXPECT_EQ(format_findings(some_findings, Marks::words),
              "         what      needed     found\n"
              "ok       CPUs      1 or more  2 of 2 allowed\n"
              "short    nested    VMX        kvm_amd.nested is 0\n"
              "           sudo modprobe x\n"
              "missing  /dev/kvm  API        gone\n");
}

TEST(HostCheckText, MarksWithOneColumnOnATerminal) {
    EXPECT_EQ(format_findings(some_findings, Marks::symbols), "   what      needed     found\n"
                                                              "\u2713  CPUs      1 or more  2 of 2 allowed\n"
                                                              "!  nested    VMX        kvm_amd.nested is 0\n"
                                                              "     sudo modprobe x\n"
                                                              "\u2717  /dev/kvm  API        gone\n");
}

TEST(HostCheckText, GoesIntoJsonWhole) {
    const auto json = to_json(some_findings[1]);
    EXPECT_EQ(json.dump(), R"({"name":"nested","level":"short","needed_by":"an_option","asked":"VMX",)"
                           R"("found":"kvm_amd.nested is 0","remedy":"sudo modprobe x"})");
}

} // namespace
} // namespace nestbed::report
