#include "topology/kernel_numa.hpp"

#include <algorithm>
#include <cerrno>
#include <string>

#include "topology/text_file.hpp"

namespace nestbed::topology {

std::optional<CpuSet> make_cpu_set(std::span<const std::uint32_t> pus) {
    const auto largest = pus.empty() ? 0 : *std::max_element(pus.begin(), pus.end());
    if (largest > max_pu_index)
        return std::nullopt;
    CpuSet set;
    set.bits.reset(CPU_ALLOC(largest + 1));
    set.bytes = CPU_ALLOC_SIZE(largest + 1);
    if (!set.bits)
        return std::nullopt;
    CPU_ZERO_S(set.bytes, set.bits.get());
    for (const auto pu : pus)
        CPU_SET_S(pu, set.bytes, set.bits.get());
    return set;
}

std::optional<std::vector<std::uint32_t>> read_affinity(pid_t tid) {
    // EINVAL: the kernel has room for more PUs than the mask (sched_getaffinity(2)).
    for (std::uint32_t last = 1023; last <= max_pu_index; last = last * 2 + 1) {
        const auto set = make_cpu_set(std::span{&last, 1});
        if (!set)
            break;
        CPU_ZERO_S(set->bytes, set->bits.get());
        if (::sched_getaffinity(tid, set->bytes, set->bits.get()) == 0) {
            std::vector<std::uint32_t> pus;
            for (std::uint32_t pu = 0; pu < set->bytes * 8; ++pu)
                if (CPU_ISSET_S(pu, set->bytes, set->bits.get()))
                    pus.push_back(pu);
            return pus;
        }
        if (errno != EINVAL)
            return std::nullopt;
    }
    errno = EINVAL;
    return std::nullopt;
}

bool is_only_memory_node(std::uint32_t node) {
    constexpr std::size_t enough = 4096;
    auto nodes = read_text_file("/sys/devices/system/node/has_memory", enough);
    if (!nodes)
        return node == 0; // without CONFIG_NUMA there is no such file
    while (!nodes->empty() && nodes->back() == '\n')
        nodes->pop_back();
    return *nodes == std::to_string(node);
}

} // namespace nestbed::topology
