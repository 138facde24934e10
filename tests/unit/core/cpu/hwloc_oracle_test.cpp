// hwloc as the judge: its x86 backend reads CPUID dumps of every vCPU and builds the machine that it believes
// in. Ids that are not what they should be make it lose cores, merge packages or fail.
#include "core/cpu/cpuid.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <tuple>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hwloc.h>

#include "host_tables.hpp"
#include "shapes.hpp"

namespace nestbed::core::cpu::test {
namespace {

using topology::Shape;

// A directory of its own, gone at the end.
class TemporaryDirectory {
public:
    TemporaryDirectory() {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-cpuid-XXXXXX").string();
        if (::mkdtemp(pattern.data()) != nullptr)
            _path = pattern;
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(_path, ignored);
    }

    [[nodiscard]] const std::filesystem::path& path() const { return _path; }

private:
    std::filesystem::path _path;
};

// hwloc reads these while it loads a topology.
class Environment {
public:
    Environment(const char* name, const std::string& value) : _name{name} {
        ::setenv(name, value.c_str(), 1);
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() { ::unsetenv(_name); }

private:
    const char* _name;
};

// The form of hwloc-gather-cpuid: which inputs count (1 EAX, 4 ECX), inputs, outputs. The last line answers
// whatever the table lacks.
void write_dump(const std::filesystem::path& file, const Table& table) {
    std::ofstream out{file};
    for (const auto& entry : table) {
        const int mask = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0 ? 5 : 1;
        out << fmt::format("{:x} {:x} 0 {:x} 0 => {:x} {:x} {:x} {:x}\n", mask, entry.function, entry.index,
                           entry.eax, entry.ebx, entry.ecx, entry.edx);
    }
    out << "0 0 0 0 0 => 0 0 0 0\n";
}

struct Counts {
    int packages = 0;
    int cores = 0;
    int pus = 0;
    int l3 = 0;
    int l2 = 0;

    bool operator==(const Counts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << fmt::format("{} packages, {} cores, {} PUs, {} L3, {} L2", counts.packages, counts.cores,
                              counts.pus, counts.l3, counts.l2);
}

using Topology = std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)>;

Topology load(const std::filesystem::path& dumps) {
    const Environment path{"HWLOC_CPUID_PATH", dumps.string()};
    // No other backend: Linux's would cut the dumped machine down to this one's CPUs.
    const Environment components{"HWLOC_COMPONENTS", "x86,stop"};
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0)
        return {nullptr, hwloc_topology_destroy};
    Topology topology{raw, hwloc_topology_destroy};
    if (hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_ALL) != 0 ||
        hwloc_topology_load(raw) != 0)
        topology.reset();
    return topology;
}

class HwlocSees : public testing::TestWithParam<std::tuple<std::string, Shape>> {};

TEST_P(HwlocSees, TheShapeThatWasAskedFor) {
    const auto& [host, shape] = GetParam();
    const TemporaryDirectory directory;
    ASSERT_FALSE(directory.path().empty());
    std::ofstream{directory.path() / "hwloc-cpuid-info"} << "Architecture: x86\n";
    const auto table = guest_template(host_named(host).table, {.shape = shape});
    for (std::uint32_t vcpu = 0; vcpu < vcpu_count(shape); ++vcpu)
        write_dump(directory.path() / fmt::format("pu{}", vcpu), for_vcpu(table, shape, vcpu));

    const auto topology = load(directory.path());
    ASSERT_TRUE(topology);
    hwloc_topology_check(topology.get()); // aborts on an inconsistent tree
    const auto count = [&](hwloc_obj_type_t type) { return hwloc_get_nbobjs_by_type(topology.get(), type); };
    const Counts found{.packages = count(HWLOC_OBJ_PACKAGE),
                       .cores = count(HWLOC_OBJ_CORE),
                       .pus = count(HWLOC_OBJ_PU),
                       .l3 = count(HWLOC_OBJ_L3CACHE),
                       .l2 = count(HWLOC_OBJ_L2CACHE)};
    const auto dies = static_cast<int>(shape.sockets * shape.dies);
    const auto cores = dies * static_cast<int>(shape.cores);
    EXPECT_EQ(found, (Counts{.packages = static_cast<int>(shape.sockets),
                             .cores = cores,
                             .pus = static_cast<int>(vcpu_count(shape)),
                             .l3 = dies,
                             .l2 = cores}));

    for (std::uint32_t vcpu = 0; vcpu < vcpu_count(shape); ++vcpu) {
        auto* const pu = hwloc_get_pu_obj_by_os_index(topology.get(), vcpu);
        ASSERT_NE(pu, nullptr) << "vCPU " << vcpu;
        auto* const package = hwloc_get_ancestor_obj_by_type(topology.get(), HWLOC_OBJ_PACKAGE, pu);
        ASSERT_NE(package, nullptr) << "vCPU " << vcpu;
        ASSERT_EQ(package->logical_index, position_of(shape, vcpu).socket) << "vCPU " << vcpu;
    }
}

INSTANTIATE_TEST_SUITE_P(EachVendor, HwlocSees,
                         testing::Combine(testing::Values("IceLake", "Milan", "EmulatedEpyc"),
                                          testing::ValuesIn(all_shapes())),
                         [](const testing::TestParamInfo<HwlocSees::ParamType>& test_case) {
                             return fmt::format("{}_{}", std::get<0>(test_case.param),
                                                format_shape(std::get<1>(test_case.param)));
                         });

} // namespace
} // namespace nestbed::core::cpu::test
