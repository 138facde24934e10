#include "topology/hwloc_source.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include <numa.h>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/text_file.hpp"
#include "topology/trial.hpp"

namespace nestbed::topology {

namespace {

// Real ones stay below a megabyte; 65536 PUs would be 200 MiB.
constexpr std::size_t max_xml_bytes = 64 * MiB;
// Bitmaps are as long as the largest index: one PU with index 2^32-1 would cost 512 MiB for each object.
constexpr std::uint64_t max_os_index = 1U << 20;

// 16384 PUs take less than a tenth of this.
constexpr unsigned max_load_seconds = 120;

constexpr std::string_view sources =
    "give \"auto\", a description such as \"pack:8 [numa(memory=512GB)] l3:4 core:16 pu:2\", or a file that "
    "lstopo FILE.xml wrote";

// hwloc has its say on stderr unless told otherwise; our callers get a Result. What the user has set stays.
class QuietHwloc {
public:
    QuietHwloc() : _ours{std::getenv(name) == nullptr} {
        if (_ours)
            ::setenv(name, "2", 1);
    }
    ~QuietHwloc() {
        if (_ours)
            ::unsetenv(name);
    }
    QuietHwloc(const QuietHwloc&) = delete;
    QuietHwloc(QuietHwloc&&) = delete;
    QuietHwloc& operator=(const QuietHwloc&) = delete;
    QuietHwloc& operator=(QuietHwloc&&) = delete;

private:
    static constexpr const char* name = "HWLOC_HIDE_ERRORS";
    bool _ours;
};

struct BitmapDelete {
    void operator()(hwloc_bitmap_s* bitmap) const noexcept { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDelete>;

tl::unexpected<Error> refuse(std::string_view source, std::string why) {
    return fail(ErrorKind::bad_input, fmt::format("host \"{}\"", source), std::move(why),
                std::string{sources});
}

Result<HwlocTopology> new_topology() {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0)
        return fail_errno(ErrorKind::host_lacks, "start hwloc");
    HwlocTopology topology{raw};
    // DONT_CHANGE_BINDING: hwloc's CPUID component would move this thread over every PU of the host.
    const unsigned long flags =
        HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING;
    if (hwloc_topology_set_flags(raw, flags) != 0 ||
        hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE) != 0)
        return fail_errno(ErrorKind::host_lacks, "configure hwloc");
    return topology;
}

// A bound on the PUs that a description asks for, from its counts alone: "pack:2 core:4 2" is 16. Attributes
// in parentheses and attached memory in brackets do not multiply. Empty where it passes the limit.
std::optional<std::uint64_t> count_synthetic_pus(const std::string& description) {
    std::uint64_t product = 1;
    char closing = 0;
    bool count_may_start = true;
    for (const char* at = description.c_str(); *at != 0;) {
        const char c = *at++;
        if (closing != 0) {
            if (c == closing) {
                closing = 0;
                count_may_start = true;
            }
        } else if (c == '(' || c == '[') {
            closing = c == '(' ? ')' : ']';
        } else if (count_may_start && std::isdigit(static_cast<unsigned char>(c)) != 0) {
            char* end = nullptr;
            // Base 0 as hwloc reads it; ULONG_MAX on overflow.
            const std::uint64_t count = std::strtoul(at - 1, &end, 0);
            if (count > max_host_pus)
                return std::nullopt;
            product *= std::max<std::uint64_t>(count, 1);
            if (product > max_host_pus)
                return std::nullopt;
            at = end;
            count_may_start = false;
        } else {
            count_may_start = c == ':' || std::isspace(static_cast<unsigned char>(c)) != 0;
        }
    }
    return product;
}

// Narrows what hwloc says is allowed (the cgroup's cpuset) by this thread's affinity and by the kernel's word
// on memory, so that the XML tells it too.
Status narrow_to_this_process(hwloc_topology_t topology) {
    const Bitmap cpus{hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology))};
    const Bitmap bound{hwloc_bitmap_alloc()};
    const Bitmap nodes{hwloc_bitmap_dup(hwloc_topology_get_allowed_nodeset(topology))};
    if (!cpus || !bound || !nodes)
        return fail(ErrorKind::host_lacks, "discover this host", "out of memory");
    if (hwloc_get_cpubind(topology, bound.get(), HWLOC_CPUBIND_THREAD) == 0)
        hwloc_bitmap_and(cpus.get(), cpus.get(), bound.get());
    if (numa_available() == 0) {
        bitmask* const mems = numa_get_mems_allowed();
        const Bitmap kernel_nodes{hwloc_bitmap_alloc()};
        for (unsigned node = 0; kernel_nodes && node < mems->size; ++node)
            if (numa_bitmask_isbitset(mems, node) != 0)
                hwloc_bitmap_set(kernel_nodes.get(), node);
        numa_bitmask_free(mems);
        if (kernel_nodes && hwloc_bitmap_intersects(nodes.get(), kernel_nodes.get()) != 0)
            hwloc_bitmap_and(nodes.get(), nodes.get(), kernel_nodes.get());
    }
    if (hwloc_topology_allow(topology, cpus.get(), nodes.get(), HWLOC_ALLOW_FLAG_CUSTOM) != 0)
        return fail_errno(ErrorKind::host_lacks, "restrict hwloc to this process's cpuset");
    return {};
}

std::string export_xml(hwloc_topology_t topology) {
    char* buffer = nullptr;
    int length = 0; // with the final zero
    if (hwloc_topology_export_xmlbuffer(topology, &buffer, &length, 0) != 0)
        return {};
    std::string xml{buffer};
    hwloc_free_xmlbuffer(topology, buffer);
    return xml;
}

// What can be told from the text before hwloc spends memory on it; empty where nothing is wrong with it.
std::string objection_to_xml(const std::string& xml) {
    const auto root = xml.find("<topology");
    if (xml.empty())
        return "the file is empty";
    if (root == std::string::npos)
        return "no hwloc XML (no <topology> element)";
    // hwloc's own parser reads as it goes and leaks what it had when the text ends.
    if (xml.find("</topology>", root) == std::string::npos)
        return "the file is truncated (no </topology> at its end)";
    if (xml.substr(root, xml.find('>', root) - root).find("version=\"3") != std::string::npos &&
        hwloc_get_api_version() < 0x30000)
        return fmt::format("written by hwloc 3, this is hwloc {}.{}; export it with --export-xml-flags v2",
                           hwloc_get_api_version() >> 16, hwloc_get_api_version() >> 8 & 0xff);
    std::uint64_t pus = 0;
    constexpr std::string_view pu = "type=\"PU\"";
    for (auto at = xml.find(pu); at != std::string::npos; at = xml.find(pu, at + pu.size()))
        ++pus;
    if (pus > max_host_pus)
        return fmt::format("{} PUs, at most {} are handled", pus, max_host_pus);
    constexpr std::string_view index = "os_index=\"";
    for (auto at = xml.find(index); at != std::string::npos; at = xml.find(index, at)) {
        at += index.size();
        const auto value = std::strtoul(xml.c_str() + at, nullptr, 10);
        // (unsigned)-1 is how hwloc writes "unknown".
        if (value > max_os_index && value != std::numeric_limits<unsigned>::max())
            return fmt::format("an os_index of {}, at most {} are handled", value, max_os_index);
    }
    return {};
}

Result<HwlocTopology> load_xml_text(const std::string& xml) {
    auto topology = new_topology();
    if (!topology)
        return topology;
    // hwloc counts the final zero.
    if (hwloc_topology_set_xmlbuffer(topology->get(), xml.c_str(), static_cast<int>(xml.size() + 1)) != 0 ||
        hwloc_topology_load(topology->get()) != 0)
        return fail_errno(ErrorKind::bad_input, "load the topology from XML");
    return topology;
}

} // namespace

Result<LoadedTopology> load_this_host() {
    const QuietHwloc quiet;
    auto topology = new_topology();
    if (!topology)
        return tl::unexpected{topology.error()};
    if (hwloc_topology_load(topology->get()) != 0)
        return fail_errno(ErrorKind::host_lacks, "discover this host (hwloc_topology_load)",
                          "see whether lstopo works here");
    // The user can put another machine in this one's place (HWLOC_XMLFILE, HWLOC_SYNTHETIC): then nothing of
    // this process applies to it.
    const bool is_this_host = hwloc_topology_is_thissystem(topology->get()) != 0;
    if (is_this_host)
        if (auto narrowed = narrow_to_this_process(topology->get()); !narrowed)
            return tl::unexpected{narrowed.error()};
    auto xml = export_xml(topology->get());
    return LoadedTopology{
        .topology = std::move(*topology), .xml = std::move(xml), .is_this_host = is_this_host};
}

Result<LoadedTopology> load_synthetic(std::string_view description) {
    const std::string text{description};
    const auto pus = count_synthetic_pus(text);
    if (!pus)
        return refuse(text, fmt::format("more than {} PUs", max_host_pus));
    const QuietHwloc quiet;
    auto topology = new_topology();
    if (!topology)
        return tl::unexpected{topology.error()};
    if (hwloc_topology_set_synthetic(topology->get(), text.c_str()) != 0 ||
        hwloc_topology_load(topology->get()) != 0)
        return refuse(text, "neither a file nor a description that hwloc understands (levels from the "
                            "outside in, the last pu:N)");
    return LoadedTopology{.topology = std::move(*topology),
                          .xml = {},
                          .is_this_host = false,
                          .memory_is_known = text.find("memory=") != std::string::npos};
}

Result<LoadedTopology> load_xml_file(std::string_view path) {
    auto xml = read_text_file(std::string{path}, max_xml_bytes);
    if (!xml)
        return refuse(path, xml.error().found);
    if (auto objection = objection_to_xml(*xml); !objection.empty())
        return refuse(path, std::move(objection));
    const QuietHwloc quiet;
    // hwloc trusts its own files: one with an object that lacks a set ends in a null pointer.
    if (try_in_child([&] { return load_xml_text(*xml).has_value(); }, max_load_seconds) !=
        TrialOutcome::passed)
        return refuse(path, "damaged, or no XML that this hwloc can read");
    auto topology = load_xml_text(*xml);
    if (!topology)
        return tl::unexpected{topology.error()};
    return LoadedTopology{.topology = std::move(*topology), .xml = std::move(*xml)};
}

} // namespace nestbed::topology
