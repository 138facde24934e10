#include "lab/shape.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "lab/paths.hpp"

namespace nestbed::lab {

namespace {

constexpr std::uint64_t least_memory = 512 * MiB;
constexpr std::uint64_t least_node_memory = 64 * MiB;
constexpr std::uint64_t most_memory = 1024 * GiB;
constexpr std::uint64_t tower_memory = 4 * GiB;
constexpr std::uint32_t near = 10; // ACPI SLIT: what is local
constexpr std::uint32_t far = 32;

// First of the CPUs of a node; its last one is before the next node's first. Where there are not enough for
// all, the first nodes have one each.
std::uint32_t first_cpu(const Shape& shape, std::uint32_t node) {
    return shape.cpus < shape.nodes ? std::min(node, shape.cpus) : node * shape.cpus / shape.nodes;
}

// The value of QEMU's -numa.
std::string numa_node(const Shape& shape, std::uint32_t node) {
    const auto first = first_cpu(shape, node);
    const auto next = first_cpu(shape, node + 1);
    return fmt::format("node,nodeid={},{}memdev=m{}", node,
                       first < next ? fmt::format("cpus={}-{},", first, next - 1) : "", node);
}

// In whole MiB, of which the first nodes get what does not divide.
std::uint64_t node_mib(const Shape& shape, std::uint32_t node) {
    const auto mib = shape.memory_bytes / MiB;
    return mib / shape.nodes + (node < mib % shape.nodes ? 1 : 0);
}

// Comma-separated, and nothing in them that QEMU would take for another option.
bool are_flags(std::string_view text) {
    while (!text.empty()) {
        const auto flag = text.substr(0, text.find(','));
        const auto name = flag.substr(std::min<std::size_t>(1, flag.size()));
        if ((!flag.starts_with('+') && !flag.starts_with('-')) || name.empty() ||
            name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") != std::string_view::npos ||
            flag.size() + 1 == text.size()) // a comma at the end
            return false;
        text.remove_prefix(std::min(flag.size() + 1, text.size()));
    }
    return true;
}

} // namespace

bool keeps_guests_busy(const std::vector<std::string>& arguments) {
    constexpr std::array<std::string_view, 4> hard{"boot", "conform", "stress", "tower"};
    return !arguments.empty() && std::ranges::find(hard, arguments.front()) != hard.end();
}

Shape default_shape(const std::vector<std::string>& arguments, Silicon silicon,
                    std::optional<std::uint32_t> cpus, std::optional<std::uint32_t> nodes) {
    Shape shape{.silicon = silicon};
    const bool intel = silicon == Silicon::intel;
    const bool one_cpu = intel || keeps_guests_busy(arguments);
    const auto usual = one_cpu ? 1 : shape.cpus;
    shape.cpus = cpus.value_or(nodes && !one_cpu ? std::max(usual, *nodes) : usual);
    shape.nodes = nodes.value_or(cpus && !intel ? std::min(shape.nodes, *cpus) : usual);
    if (takes_kernel_along(arguments))
        shape.memory_bytes = silicon == Silicon::intel ? max_intel_memory : tower_memory;
    return shape;
}

Status check_shape(const Shape& shape) {
    const auto refuse = [](std::string asked, std::string found, std::string remedy) {
        return fail(ErrorKind::bad_input, std::move(asked), std::move(found), std::move(remedy));
    };
    // What else is wrong with the others `nestbed boot` says.
    if (shape.engine == Engine::kvm)
        return shape.cpus >= 1 && shape.nodes == 1 && shape.cpu_flags.empty()
                   ? Status{}
                   : refuse(fmt::format("have KVM run {} CPUs on {} nodes", shape.cpus, shape.nodes),
                            "a machine that KVM runs has one node, and no flags of an emulated CPU",
                            "use one node");
    const bool intel = shape.silicon == Silicon::intel;
    if (intel && (shape.cpus != 1 || shape.nodes != 1))
        return refuse(fmt::format("emulate {} Intel CPUs on {} nodes", shape.cpus, shape.nodes),
                      "Bochs loses interrupts between CPUs, and has no nodes",
                      "use --cpus 1 --nodes 1, or --silicon amd");
    if (intel && !shape.cpu_flags.empty())
        return refuse(fmt::format("emulate an Intel CPU with {}", printable(shape.cpu_flags)),
                      "its features are those of Bochs' model", "leave out --cpu-flags");
    if (shape.nodes < 1 || shape.nodes > max_nodes)
        return refuse(fmt::format("emulate {} nodes", shape.nodes), "not possible",
                      fmt::format("use --nodes 1 to {}", max_nodes));
    if (shape.cpus < 1 || shape.cpus > max_cpus)
        return refuse(fmt::format("emulate {} CPUs", shape.cpus), "not possible",
                      fmt::format("use --cpus 1 to {}", max_cpus));
    const auto least = std::max(least_memory, shape.nodes * least_node_memory);
    const auto most = intel ? max_intel_memory : most_memory;
    if (shape.memory_bytes < least || shape.memory_bytes > most || shape.memory_bytes % MiB != 0)
        return refuse(fmt::format("emulate {} of memory", format_size(shape.memory_bytes)),
                      shape.memory_bytes % MiB != 0 ? "no whole number of MiB"
                                                    : "out of the range that is provided for",
                      fmt::format("use --memory {}M to {}G", least / MiB, most / GiB));
    if (!are_flags(shape.cpu_flags))
        return refuse(fmt::format("emulate a CPU with {}", printable(shape.cpu_flags)),
                      "no list of flags, each after + or -", "use --cpu-flags +vgif,-npt for one");
    return {};
}

std::vector<std::string> qemu_command(const std::filesystem::path& qemu, const Shape& shape,
                                      const Boot& boot) {
    const bool even = shape.cpus % shape.nodes == 0;
    std::vector<std::string> words{
        qemu.string(), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35",
        "-accel", "tcg,thread=multi",
        // Neither the newest nor "max": all that it has is emulated, nested paging too.
        "-cpu", "EPYC,+svm,+npt,check=off" + (shape.cpu_flags.empty() ? "" : "," + shape.cpu_flags), "-smp",
        even ? fmt::format("{},sockets={},cores={},threads=1", shape.cpus, shape.nodes,
                           shape.cpus / shape.nodes)
             : fmt::format("{},sockets={},cores=1,threads=1", shape.cpus, shape.cpus),
        "-m", fmt::format("{}M", shape.memory_bytes / MiB)};
    const auto add = [&](const char* option, std::string value) {
        words.emplace_back(option);
        words.push_back(std::move(value));
    };
    for (std::uint32_t node = 0; node < shape.nodes; ++node) {
        add("-object", fmt::format("memory-backend-ram,id=m{},size={}M", node, node_mib(shape, node)));
        add("-numa", numa_node(shape, node));
    }
    for (std::uint32_t from = 0; from < shape.nodes; ++from)
        for (std::uint32_t to = 0; to < shape.nodes; ++to)
            add("-numa", fmt::format("dist,src={},dst={},val={}", from, to, from == to ? near : far));
    add("-kernel", boot.kernel.string());
    add("-initrd", boot.initramfs.string());
    add("-append", boot.command_line);
    add("-chardev", fmt::format("socket,id=console,fd={}", boot.console_fd));
    add("-serial", "chardev:console");
    add("-chardev", fmt::format("socket,id=frames,fd={}", boot.frames_fd));
    add("-serial", "chardev:frames");
    return words;
}

} // namespace nestbed::lab
