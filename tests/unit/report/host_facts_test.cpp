#include "report/host_facts.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Files = std::map<std::string, std::string>; // path below the root -> content
using Limits = std::map<std::string, std::optional<std::uint64_t>>;
using testing::Contains;
using testing::IsEmpty;
using testing::Pair;

// A root folder of its own with these files, gone with the object.
class Tree {
public:
    explicit Tree(const Files& files) {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-facts-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr)
            throw std::system_error{errno, std::generic_category(), pattern};
        _root = pattern;
        for (const auto& [path, content] : files) {
            std::filesystem::create_directories((_root / path).parent_path());
            std::ofstream{_root / path} << content;
        }
    }
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;
    Tree(Tree&&) = delete;
    Tree& operator=(Tree&&) = delete;
    ~Tree() {
        std::error_code ignored;
        std::filesystem::remove_all(_root, ignored);
    }

    [[nodiscard]] const std::filesystem::path& root() const { return _root; }

private:
    std::filesystem::path _root;
};

HostFacts facts_of(const Files& files) {
    const Tree tree{files};
    return gather_host_facts(nullptr, nullptr, tree.root());
}

std::string cpuinfo(const std::string& flags) {
    return "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmicrocode\t: 0x2b000603\nflags\t\t: fpu " +
           flags + " lm\n\nprocessor\t: 1\nmodel name\t: Another CPU\nflags\t\t: fpu vmx svm\n";
}

TEST(HostFactsTest, AreEmptyWhereNothingIsKnown) {
    const auto facts = facts_of({});
    EXPECT_EQ(facts.kernel, "");
    EXPECT_EQ(facts.cpu_model, "");
    EXPECT_EQ(facts.microcode, "");
    EXPECT_EQ(facts.kvm_module, "");
    EXPECT_THAT(facts.module_parameters, IsEmpty());
    EXPECT_THAT(facts.kvm_capabilities, IsEmpty());
    EXPECT_THAT(facts.limits, IsEmpty());
    EXPECT_FALSE(facts.topology);
}

TEST(HostFactsTest, NameKernelAndFirstCpu) {
    const auto facts =
        facts_of({{"proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"}, {"proc/cpuinfo", cpuinfo("")}});
    EXPECT_EQ(facts.kernel, "6.1.0-18-amd64");
    EXPECT_EQ(facts.cpu_model, "Some CPU @ 2.00GHz");
    EXPECT_EQ(facts.microcode, "0x2b000603");
}

TEST(HostFactsTest, TakeTheTopologyAsItIs) {
    const Tree tree{{}};
    const auto host = test::example_host(2, 4);
    const auto facts = gather_host_facts(&host, nullptr, tree.root());
    ASSERT_TRUE(facts.topology);
    EXPECT_EQ(facts.topology->source, host.source);
}

TEST(HostFactsTest, HaveTheParametersOfKvmAndItsVendorModuleOnly) {
    const auto facts = facts_of({{"sys/module/kvm/holders/kvm_amd/refcnt", "0\n"},
                                 {"sys/module/kvm/parameters/halt_poll_ns", "200000\n"},
                                 {"sys/module/kvm_amd/parameters/nested", "1\n"},
                                 {"sys/module/kvm_amd/parameters/npt", "Y\n"},
                                 {"sys/module/kvm_intel/parameters/nested", "N\n"}});
    const std::map<std::string, std::string> expected{
        {"kvm.halt_poll_ns", "200000"}, {"kvm_amd.nested", "1"}, {"kvm_amd.npt", "Y"}};
    EXPECT_EQ(facts.module_parameters, expected);
}

struct ModuleCase {
    std::string name;
    Files files;
    std::string module;
};

void PrintTo(const ModuleCase& one, std::ostream* out) {
    *out << one.name;
}

const std::string loaded = "live\n";
const std::vector<ModuleCase> module_cases{
    {"loaded_intel",
     {{"sys/module/kvm/holders/kvm_intel/refcnt", ""},
      {"sys/module/kvm_intel/initstate", loaded},
      {"proc/cpuinfo", cpuinfo("vmx")}},
     "kvm_intel"},
    {"another_holder",
     {{"sys/module/kvm/holders/kvm_pvm/refcnt", ""}, {"sys/module/kvm_pvm/initstate", loaded}},
     "kvm_pvm"},
    {"holder_that_is_no_vendor",
     {{"sys/module/kvm/holders/vfio/refcnt", ""}, {"sys/module/vfio/initstate", loaded}},
     ""},
    {"kvm_alone", {{"sys/module/kvm/parameters/halt_poll_ns", "0"}, {"proc/cpuinfo", cpuinfo("svm")}}, ""},
    {"both_built_in_on_amd",
     {{"sys/module/kvm_amd/parameters/nested", "1"},
      {"sys/module/kvm_intel/parameters/nested", "Y"},
      {"proc/cpuinfo", cpuinfo("svm")}},
     "kvm_amd"},
    {"both_built_in_on_intel",
     {{"sys/module/kvm_amd/parameters/nested", "1"},
      {"sys/module/kvm_intel/parameters/nested", "Y"},
      {"proc/cpuinfo", cpuinfo("vmx")}},
     "kvm_intel"},
    {"both_built_in_without_use",
     {{"sys/module/kvm_amd/parameters/nested", "1"},
      {"sys/module/kvm_intel/parameters/nested", "Y"},
      {"proc/cpuinfo", cpuinfo("sse2")}},
     ""},
    {"another_built_in_with_them",
     {{"sys/module/kvm_amd/parameters/nested", "1"},
      {"sys/module/kvm_pvm/parameters/force", "N"},
      {"proc/cpuinfo", cpuinfo("sse2")}},
     "kvm_pvm"},
    {"loaded_beside_one_built_in",
     {{"sys/module/kvm_amd/parameters/nested", "1"},
      {"sys/module/kvm_pvm/initstate", loaded},
      {"proc/cpuinfo", cpuinfo("svm")}},
     "kvm_pvm"},
};

class KvmModule : public testing::TestWithParam<ModuleCase> {};

TEST_P(KvmModule, IsTheOneThatServes) {
    EXPECT_EQ(facts_of(GetParam().files).kvm_module, GetParam().module);
}

INSTANTIATE_TEST_SUITE_P(Each, KvmModule, testing::ValuesIn(module_cases),
                         [](const auto& one) { return one.param.name; });

struct LimitCase {
    std::string name;
    Files files;
    Limits limits;
};

void PrintTo(const LimitCase& one, std::ostream* out) {
    *out << one.name;
}

const std::vector<LimitCase> limit_cases{
    {"of_the_process",
     {{"proc/self/limits",
       "Limit                     Soft Limit           Hard Limit           Units     \n"
       "Max processes             96365                unlimited            processes \n"
       "Max open files            1024                 524288               files     \n"
       "Max locked memory         8388608              8388608              bytes     \n"
       "Max file locks            unlimited            unlimited            locks     \n"}},
     {{"nofile", 1024},
      {"nofile_hard", 524288},
      {"nproc", 96365},
      {"nproc_hard", std::nullopt},
      {"memlock", 8388608},
      {"memlock_hard", 8388608}}},
    {"of_the_kernel",
     {{"proc/sys/kernel/threads-max", "192731\n"},
      {"proc/sys/kernel/pid_max", "32768\n"},
      {"proc/sys/vm/max_map_count", "65530\n"}},
     {{"kernel.threads-max", 192731}, {"kernel.pid_max", 32768}, {"vm.max_map_count", 65530}}},
    {"damaged",
     {{"proc/self/limits", "Max open files            many                 524288               files\n"},
      {"proc/sys/kernel/pid_max", "-1\n"},
      {"proc/self/cgroup", "0:/\n::\n\n"}},
     {{"nofile_hard", 524288}}},
    {"cgroup_of_its_own",
     {{"proc/self/cgroup", "0::/user.slice/shell.scope\n"},
      {"sys/fs/cgroup/user.slice/shell.scope/pids.max", "300\n"},
      {"sys/fs/cgroup/user.slice/pids.max", "max\n"}},
     {{"cgroup.pids.max", 300}}},
    {"cgroup_above",
     {{"proc/self/cgroup", "0::/user.slice/shell.scope\n"},
      {"sys/fs/cgroup/user.slice/shell.scope/pids.max", "5000\n"},
      {"sys/fs/cgroup/user.slice/pids.max", "400\n"}},
     {{"cgroup.pids.max", 400}}},
    {"cgroup_below_a_larger_one",
     {{"proc/self/cgroup", "0::/user.slice/shell.scope\n"},
      {"sys/fs/cgroup/user.slice/shell.scope/pids.max", "400\n"},
      {"sys/fs/cgroup/user.slice/pids.max", "5000\n"}},
     {{"cgroup.pids.max", 400}}},
    {"cgroup_unlimited",
     {{"proc/self/cgroup", "0::/user.slice\n"}, {"sys/fs/cgroup/user.slice/pids.max", "max\n"}},
     {{"cgroup.pids.max", std::nullopt}}},
    {"cgroup_of_version_1",
     {{"proc/self/cgroup", "9:name=systemd:/\n8:cpu,pids:/docker/abc\n0::/\n"},
      {"sys/fs/cgroup/pids/docker/abc/pids.max", "700\n"},
      {"sys/fs/cgroup/pids.max", "1\n"}},
     {{"cgroup.pids.max", 700}}},
    {"cgroup_path_that_is_not_mounted",
     {{"proc/self/cgroup", "8:pids:/docker/abc\n"}, {"sys/fs/cgroup/pids/pids.max", "800\n"}},
     {{"cgroup.pids.max", 800}}},
    {"cgroup_outside_the_namespace",
     {{"proc/self/cgroup", "0::/../../other\n"},
      {"sys/fs/cgroup/pids.max", "900\n"},
      {"sys/other/pids.max", "1\n"}},
     {{"cgroup.pids.max", 900}}},
    {"root_cgroup_without_a_limit", {{"proc/self/cgroup", "0::/\n"}}, {}},
};

class HostLimits : public testing::TestWithParam<LimitCase> {};

TEST_P(HostLimits, AreRead) {
    EXPECT_EQ(facts_of(GetParam().files).limits, GetParam().limits);
}

INSTANTIATE_TEST_SUITE_P(Each, HostLimits, testing::ValuesIn(limit_cases),
                         [](const auto& one) { return one.param.name; });

// This machine's: what every Linux tells.
TEST(HostFactsTest, AreKnownOfThisMachine) {
    const auto facts = gather_host_facts(nullptr, nullptr);
    EXPECT_NE(facts.kernel, "");
    EXPECT_THAT(facts.limits, Contains(testing::Key("nofile")));
    EXPECT_THAT(facts.limits, Contains(testing::Key("kernel.pid_max")));
}

TEST(HostFactsTest, AskKvmForItsCapabilities) {
    const auto kvm = kvm::Kvm::open();
    if (!kvm)
        GTEST_SKIP() << kvm.error().message();
    const auto facts = gather_host_facts(nullptr, &*kvm);
    EXPECT_THAT(facts.kvm_capabilities,
                Contains(Pair("KVM_CAP_MAX_VCPUS", kvm->check_extension(KVM_CAP_MAX_VCPUS))));
    EXPECT_THAT(facts.kvm_capabilities, Contains(Pair("KVM_CAP_IOEVENTFD", testing::Ne(0))));
    EXPECT_GE(facts.kvm_capabilities.size(), 40U);
}

} // namespace
} // namespace nestbed::report
