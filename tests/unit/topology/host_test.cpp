#include "topology/host.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "topology/host_distances.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/placement.hpp"
#include "topology/text_file.hpp"
#include "topology/this_host.hpp"

namespace nestbed::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string data(const std::string& name) {
    return std::string{NESTBED_TEST_DATA} + "/hwloc/" + name;
}

// A file with this text, gone at the end of the test.
class TemporaryFile {
public:
    TemporaryFile(const std::string& name, const std::string& text)
        : _path{std::filesystem::temp_directory_path() / fmt::format("nestbed-{}-{}", ::getpid(), name)} {
        std::ofstream{_path} << text;
    }
    ~TemporaryFile() { std::filesystem::remove(_path); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile(TemporaryFile&&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    [[nodiscard]] std::string path() const { return _path.string(); }

private:
    std::filesystem::path _path;
};

std::string text_of(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

TEST(DiscoverSynthetic, CountsWhatIsDescribed) {
    for (const unsigned packages : {1U, 2U, 3U, 8U, 16U})
        for (const unsigned cores : {1U, 6U, 128U}) {
            const auto text = fmt::format("pack:{} [numa(memory=1GiB)] l3:1 core:{} pu:2", packages, cores);
            const auto host = discover(text);
            ASSERT_TRUE(host) << text << ": " << host.error().message();
            EXPECT_EQ(host->pus.size(), packages * cores * 2) << text;
            EXPECT_EQ(host->nodes.size(), packages) << text;
            EXPECT_EQ(host->packages, packages) << text;
            EXPECT_EQ(host->llcs, packages) << text;
            EXPECT_EQ(host->cores, packages * cores) << text;
            EXPECT_FALSE(host->is_this_host);
            EXPECT_EQ(host->source, text);
            for (std::uint32_t i = 0; i < host->pus.size(); ++i) {
                const auto& pu = host->pus[i];
                ASSERT_EQ(pu.core, i / 2) << text;
                ASSERT_EQ(pu.package, i / 2 / cores) << text;
                ASSERT_EQ(pu.llc, pu.package) << text;
                ASSERT_EQ(pu.node, pu.package) << text;
                ASSERT_TRUE(pu.allowed);
            }
            for (const auto& node : host->nodes) {
                EXPECT_EQ(node.memory_bytes, GiB);
                EXPECT_EQ(node.free_bytes, GiB);
                EXPECT_TRUE(node.has_pus);
            }
        }
}

TEST(DiscoverSynthetic, MemoryThatIsNotGivenIsUnknown) {
    const auto host = discover("pack:2 [numa] core:2 pu:1");
    ASSERT_TRUE(host);
    for (const auto& node : host->nodes)
        EXPECT_EQ(node.memory_bytes, 0U);
    EXPECT_EQ(host->pus[3].node, 1U);
}

TEST(DiscoverSynthetic, TheLargestCacheIsTheLastLevel) {
    EXPECT_EQ(discover("pack:2 l3:4 l2:8 core:1 pu:2")->llcs, 8U);
    EXPECT_EQ(discover("pack:2 l2:8 core:1 pu:2")->llcs, 16U);
    EXPECT_EQ(discover("pack:2 core:8 pu:2")->llcs, 2U) << "without caches, the package";
}

TEST(Discover, RefusesNonsense) {
    const std::string nul{"pack:1\0core:2", 13};
    for (const std::string& source :
         {std::string{}, std::string{"  "}, std::string{"nonsense"}, std::string{"pack:"},
          std::string{"pack:0"}, std::string{"pack:2("}, std::string{"["}, std::string{"core:2 pack:2"},
          std::string{"x:y"}, nul}) {
        const auto host = discover(source);
        ASSERT_FALSE(host) << source;
        EXPECT_EQ(host.error().kind, ErrorKind::bad_input) << source;
        EXPECT_FALSE(host.error().found.empty()) << source;
    }
}

TEST(Discover, RefusesAbsurdSizesAtOnce) {
    for (const std::string source :
         {"pack:100000 core:100000 pu:2", "pu:99999999999999999999", "pu:16385", "129 128", "0x10000",
          "pack:64(indexes=1) [numa(memory=1GB)] core:512 pu:1", "pack:4 numa:300 pu:1"}) {
        const auto host = discover(source);
        ASSERT_FALSE(host) << source;
        EXPECT_EQ(host.error().kind, ErrorKind::bad_input) << source;
        EXPECT_THAT(host.error().found,
                    testing::AnyOf(HasSubstr("more than 16384 PUs"), HasSubstr("NUMA nodes")));
    }
}

TEST(DiscoverFile, TellsWhyItCannotBeRead) {
    const TemporaryFile empty{"empty.xml", ""};
    const TemporaryFile other{"other.xml", "<html></html>"};
    const TemporaryFile future{"future.xml", "<topology version=\"3.0\"></topology>"};
    const TemporaryFile huge{
        "huge.xml", "<topology version=\"2.0\"><object type=\"PU\" os_index=\"4000000000\"/></topology>"};
    const TemporaryFile hollow{"hollow.xml", "<topology version=\"2.0\"></topology>"};
    const auto whole = text_of(data("16amd64-4distances.xml"));
    const TemporaryFile half{"half.xml", whole.substr(0, whole.size() / 2)};
    struct Case {
        std::string source;
        std::string found;
    };
    const Case cases[] = {
        {"/nowhere/host.xml", "ENOENT"},
        {"nowhere.xml", "ENOENT"},
        {"/tmp", "EISDIR"},
        {empty.path(), "empty"},
        {other.path(), "no hwloc XML"},
        {future.path(), "hwloc"},
        {huge.path(), "os_index of 4000000000"},
        {half.path(), "truncated"},
        {hollow.path(), "damaged"},
    };
    for (const auto& [source, found] : cases) {
        const auto host = discover(source);
        ASSERT_FALSE(host) << source;
        EXPECT_EQ(host.error().kind, ErrorKind::bad_input) << source;
        EXPECT_THAT(host.error().asked, HasSubstr(source));
        EXPECT_THAT(host.error().found, HasSubstr(found));
    }
}

TEST(DiscoverFile, AFileThatCrashesHwlocIsRefused) {
    // A PU with its cpuset and without its complete_cpuset: a null pointer in hwloc 2.9.
    auto text = text_of(data("16em64t-4s2c2t-offlines.xml"));
    for (auto at = text.find("<object type=\"PU\""); at != std::string::npos;
         at = text.find("<object type=\"PU\"", at + 1)) {
        const auto set = text.find(" complete_cpuset=", at);
        text.erase(set, text.find(' ', set + 1) - set);
    }
    const TemporaryFile file{"crash.xml", text};
    const auto host = discover(file.path());
    ASSERT_FALSE(host);
    EXPECT_EQ(host.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(host.error().found, HasSubstr("damaged"));
}

TEST(DiscoverFile, ATruncatedFileNeverPassesNorSpeaks) {
    const auto whole = text_of(data("8intel64-4n2t-memattrs.xml"));
    testing::internal::CaptureStderr();
    for (std::size_t length = 0; length < whole.rfind("</topology>"); length += 97) {
        const TemporaryFile file{"cut.xml", whole.substr(0, length)};
        const auto host = discover(file.path());
        EXPECT_FALSE(host) << length;
    }
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(std::getenv("HWLOC_HIDE_ERRORS"), nullptr) << "the environment is as before";
}

TEST(DiscoverFile, TwentyFourNodes) {
    const auto host = discover(data("192em64t-24n8c2t.xml"));
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_EQ(host->pus.size(), 384U);
    EXPECT_EQ(host->nodes.size(), 24U);
    EXPECT_EQ(host->cores, 192U);
    EXPECT_EQ(host->pus[0].os_index, 0U);
    EXPECT_EQ(host->pus[1].os_index, 192U) << "siblings are neighbours in logical order";
    EXPECT_EQ(host->pus[0].core, host->pus[1].core);
    for (std::uint32_t node = 0; node < 24; ++node)
        EXPECT_EQ(
            std::count_if(host->pus.begin(), host->pus.end(), [&](const Pu& pu) { return pu.node == node; }),
            16);
    EXPECT_EQ(host->xml, text_of(data("192em64t-24n8c2t.xml")));
}

TEST(DiscoverFile, NodesOutOfOrder) {
    const auto host = discover(data("16amd64-4distances.xml"));
    ASSERT_TRUE(host) << host.error().message();
    ASSERT_EQ(host->nodes.size(), 8U);
    EXPECT_EQ(host->nodes[0].os_index, 1U);
    EXPECT_EQ(host->nodes[1].os_index, 0U);
    ASSERT_EQ(host->distances.size(), 8U);
    for (std::uint32_t from = 0; from < 8; ++from) {
        ASSERT_EQ(host->distances[from].size(), 8U);
        for (std::uint32_t to = 0; to < 8; ++to) {
            EXPECT_EQ(host->distances[from][to] == local_distance, from == to);
            EXPECT_EQ(host->distances[from][to] == remote_distance, from != to);
        }
    }
}

TEST(DiscoverFile, WithoutPackagesCoresAndCaches) {
    const auto host = discover(data("8intel64-4n2t-memattrs.xml"));
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_EQ(host->pus.size(), 8U);
    EXPECT_EQ(host->packages, 1U);
    EXPECT_EQ(host->llcs, 1U);
    EXPECT_EQ(host->cores, 8U);
    EXPECT_EQ(host->pus[7].node, 3U);
    EXPECT_EQ(host->nodes[3].memory_bytes, GiB);
}

TEST(DiscoverFile, OfflinePusAreNotThere) {
    const auto host = discover(data("16em64t-4s2c2t-offlines.xml"));
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_EQ(host->pus.size(), 7U);
    EXPECT_EQ(host->packages, 4U);
    EXPECT_EQ(host->cores, 6U);
    std::vector<std::uint32_t> seen;
    for (const auto& pu : host->pus)
        seen.push_back(pu.os_index);
    EXPECT_THAT(seen, ElementsAre(0, 4, 12, 1, 6, 3, 15));
    EXPECT_EQ(host->nodes.at(0).memory_bytes, 0U) << "the file tells no sizes";
    EXPECT_EQ(host->pus[0].node, 0U);
}

// Two groups of two PUs; PU 3 and node 1 are disallowed; the first group has HBM (numbered lower!) beside
// DRAM.
constexpr auto odd_machine = R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine" os_index="0" cpuset="0x0000000f" complete_cpuset="0x0000000f" allowed_cpuset="0x00000007"
   nodeset="0x0000001f" complete_nodeset="0x0000001f" allowed_nodeset="0x0000001d" gp_index="1">
  <object type="NUMANode" os_index="4" cpuset="0x0000000f" complete_cpuset="0x0000000f" nodeset="0x00000010"
   complete_nodeset="0x00000010" gp_index="20" local_memory="8589934592"/>
  <object type="Package" os_index="0" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000015"
   complete_nodeset="0x00000015" gp_index="2">
   <object type="NUMANode" os_index="0" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000001"
    complete_nodeset="0x00000001" gp_index="3" local_memory="1073741824" subtype="HBM"/>
   <object type="NUMANode" os_index="2" cpuset="0x00000003" complete_cpuset="0x00000003" nodeset="0x00000004"
    complete_nodeset="0x00000004" gp_index="4" local_memory="4294967296">
    <page_type size="4096" count="524288"/><page_type size="2097152" count="16"/>
   </object>
   <object type="PU" os_index="0" cpuset="0x00000001" complete_cpuset="0x00000001" nodeset="0x00000015"
    complete_nodeset="0x00000015" gp_index="5"/>
   <object type="PU" os_index="1" cpuset="0x00000002" complete_cpuset="0x00000002" nodeset="0x00000015"
    complete_nodeset="0x00000015" gp_index="6"/>
  </object>
  <object type="Package" os_index="1" cpuset="0x0000000c" complete_cpuset="0x0000000c" nodeset="0x0000001a"
   complete_nodeset="0x0000001a" gp_index="7">
   <object type="NUMANode" os_index="1" cpuset="0x0000000c" complete_cpuset="0x0000000c" nodeset="0x00000002"
    complete_nodeset="0x00000002" gp_index="8" local_memory="4294967296"/>
   <object type="NUMANode" os_index="3" cpuset="0x0000000c" complete_cpuset="0x0000000c" nodeset="0x00000008"
    complete_nodeset="0x00000008" gp_index="9" local_memory="0"/>
   <object type="PU" os_index="2" cpuset="0x00000004" complete_cpuset="0x00000004" nodeset="0x0000001a"
    complete_nodeset="0x0000001a" gp_index="10"/>
   <object type="PU" os_index="3" cpuset="0x00000008" complete_cpuset="0x00000008" nodeset="0x0000001a"
    complete_nodeset="0x0000001a" gp_index="11"/>
  </object>
 </object>
 <distances2 type="NUMANode" nbobjs="3" kind="5" name="NUMALatency" indexing="os">
  <indexes length="6">4 1 2 </indexes>
  <u64values length="35">100 150 9000 170 100 0 104 320 100 </u64values>
 </distances2>
</topology>
)";

TEST(DiscoverFile, DisallowedIsKeptAndDramGoesBeforeOtherMemory) {
    const TemporaryFile file{"odd.xml", odd_machine};
    const auto host = discover(file.path());
    ASSERT_TRUE(host) << host.error().message();
    ASSERT_EQ(host->pus.size(), 4U);
    EXPECT_THAT(allowed_pus(*host), ElementsAre(0, 1, 2));
    ASSERT_EQ(host->nodes.size(), 5U);
    const auto node_of = [&](std::size_t pu) { return host->nodes.at(host->pus[pu].node.value()); };
    EXPECT_EQ(node_of(0).os_index, 2U) << "DRAM, not the HBM with the lower number";
    ASSERT_EQ(node_of(0).huge_pages.size(), 1U);
    EXPECT_EQ(node_of(0).huge_pages[0].page_bytes, 2 * MiB);
    EXPECT_EQ(node_of(0).huge_pages[0].free, 16U);
    EXPECT_EQ(node_of(2).os_index, 1U) << "nearest, allowed or not";
    EXPECT_FALSE(node_of(2).allowed);
    for (const auto& node : host->nodes)
        EXPECT_EQ(node.has_pus, node.os_index == 1 || node.os_index == 2) << node.os_index;

    const auto usable = usable_part(*host);
    ASSERT_TRUE(usable);
    EXPECT_THAT(usable->pus, ElementsAre(0, 1, 2));
    EXPECT_EQ(host->nodes[usable->home[2]].os_index, 4U) << "its own is not allowed, this is 17 away";
}

// Two packages with a node each, the first without memory, and node 2 around both.
std::string machine_with_memory_around(const std::string& kind_around, unsigned to_sibling,
                                       unsigned to_around) {
    return fmt::format(R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine" os_index="0" cpuset="0x3" complete_cpuset="0x3" allowed_cpuset="0x3" nodeset="0x7"
   complete_nodeset="0x7" allowed_nodeset="0x7" gp_index="1">
  <object type="NUMANode" os_index="2" cpuset="0x3" complete_cpuset="0x3" nodeset="0x4" complete_nodeset="0x4"
   local_memory="8589934592" subtype="{}" gp_index="2"/>
  <object type="Package" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x5" complete_nodeset="0x5"
   gp_index="3">
   <object type="NUMANode" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x1" complete_nodeset="0x1"
    local_memory="0" gp_index="4"/>
   <object type="PU" os_index="0" cpuset="0x1" complete_cpuset="0x1" nodeset="0x5" complete_nodeset="0x5"
    gp_index="5"/>
  </object>
  <object type="Package" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x6" complete_nodeset="0x6"
   gp_index="6">
   <object type="NUMANode" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x2" complete_nodeset="0x2"
    local_memory="8589934592" subtype="DRAM" gp_index="7"/>
   <object type="PU" os_index="1" cpuset="0x2" complete_cpuset="0x2" nodeset="0x6" complete_nodeset="0x6"
    gp_index="8"/>
  </object>
 </object>
 <distances2 type="NUMANode" nbobjs="3" kind="5" name="NUMALatency" indexing="os">
  <indexes length="6">0 1 2 </indexes>
  <u64values length="27">10 {} {} 12 10 50 50 50 10 </u64values>
 </distances2>
</topology>
)",
                       kind_around, to_sibling, to_around);
}

TEST(DiscoverFile, ANodeWithoutMemoryTakesTheNearest) {
    struct Case {
        std::string kind_around;
        unsigned to_sibling, to_around;
        std::uint32_t taken; // os index
    };
    for (const auto& [kind, to_sibling, to_around, taken] :
         {Case{"CXL-DRAM", 12, 50, 1}, Case{"CXL-DRAM", 50, 12, 2}, Case{"CXL-DRAM", 20, 20, 1},
          Case{"DRAM", 20, 20, 2}, Case{"DRAM", 12, 50, 1}}) {
        SCOPED_TRACE(fmt::format("{} {} {}", kind, to_sibling, to_around));
        const TemporaryFile file{"around.xml", machine_with_memory_around(kind, to_sibling, to_around)};
        const auto host = discover(file.path());
        ASSERT_TRUE(host) << host.error().message();
        ASSERT_EQ(host->pus.size(), 2U);
        EXPECT_EQ(host->nodes.at(host->pus[0].node.value()).os_index, taken);
        EXPECT_EQ(host->nodes.at(host->pus[1].node.value()).os_index, 1U) << "its own";
    }
}

TEST(DiscoverFile, DistancesAreScaledAndFilledUp) {
    const TemporaryFile file{"odd.xml", odd_machine};
    const auto host = discover(file.path());
    ASSERT_TRUE(host) << host.error().message();
    std::map<std::uint32_t, std::uint32_t> at; // by os index
    for (std::uint32_t i = 0; i < host->nodes.size(); ++i)
        at[host->nodes[i].os_index] = i;
    struct Case {
        std::uint32_t from, to, distance;
        std::string why;
    };
    const Case cases[] = {
        {4, 4, 10, "local"},
        {4, 1, 15, "150 where 100 is local"},
        {1, 4, 17, "asymmetric"},
        {2, 1, 32, "320 where 100 is local"},
        {4, 2, unreachable, "does not fit a byte"},
        {1, 2, remote_distance, "not told"},
        {2, 4, local_distance + 1, "10.4, but only local is 10"},
        {0, 4, remote_distance, "a node that the matrix leaves out"},
        {0, 0, local_distance, "local"},
    };
    for (const auto& [from, to, distance, why] : cases)
        EXPECT_EQ(host->distances.at(at[from]).at(at[to]), distance) << from << " to " << to << ": " << why;
}

TEST(ReadNodeState, OfANodeAndOfNone) {
    const auto nothing = read_node_state(4095, false);
    EXPECT_EQ(nothing.memory_bytes, 0U);
    EXPECT_EQ(nothing.free_bytes, 0U);
    EXPECT_TRUE(nothing.huge_pages.empty());
    const auto only = read_node_state(4095, true);
    EXPECT_GT(only.memory_bytes, 64 * MiB) << "/proc/meminfo stands in";
    EXPECT_GT(only.free_bytes, 0U);

    const auto meminfo = read_text_file("/sys/devices/system/node/node0/meminfo", 64 * KiB);
    if (!meminfo)
        GTEST_SKIP() << "this kernel tells nothing of nodes";
    const auto state = read_node_state(0, false);
    EXPECT_EQ(state.memory_bytes > 0, find_number(*meminfo, "MemTotal").value() > 0);
    // Half, since the system goes on meanwhile.
    EXPECT_GE(state.free_bytes, find_number(*meminfo, "MemFree").value() * KiB / 2);
}

TEST(DiscoverThisHost, SeesWhatTheKernelSees) {
    const auto host = discover("auto");
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_TRUE(host->is_this_host);
    const auto affinity = read_affinity(0);
    ASSERT_TRUE(affinity);
    std::set<std::uint32_t> allowed;
    for (const auto index : allowed_pus(*host))
        allowed.insert(host->pus[index].os_index);
    EXPECT_THAT(allowed, testing::ElementsAreArray(*affinity));
    ASSERT_FALSE(host->nodes.empty());
    std::uint64_t memory = 0;
    for (const auto& node : host->nodes) {
        memory += node.memory_bytes;
        EXPECT_LE(node.free_bytes, node.memory_bytes);
    }
    EXPECT_GT(memory, 64 * MiB);

    const TemporaryFile file{"self.xml", host->xml};
    const auto again = discover(file.path());
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_FALSE(again->is_this_host);
    ASSERT_EQ(again->pus.size(), host->pus.size());
    for (std::size_t i = 0; i < host->pus.size(); ++i) {
        EXPECT_EQ(again->pus[i].os_index, host->pus[i].os_index);
        EXPECT_EQ(again->pus[i].allowed, host->pus[i].allowed);
        EXPECT_EQ(again->pus[i].core, host->pus[i].core);
    }
    EXPECT_EQ(again->distances, host->distances);
}

} // namespace
} // namespace nestbed::topology
