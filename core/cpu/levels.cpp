#include "core/cpu/levels.hpp"

#include "core/cpu/bits.hpp"

namespace nestbed::core::cpu {

namespace {

// ECX 15:8 of leaves 0xB and 0x1F.
enum LevelType : std::uint32_t { smt = 1, core = 2, die = 5 };

// ECX 15:8 of leaf 0x80000026.
enum AmdLevelType : std::uint32_t { amd_core = 1, amd_complex = 2, amd_die = 3, amd_socket = 4 };

std::uint64_t per_die(const topology::Shape& shape) {
    return std::uint64_t{shape.cores} * shape.threads;
}

std::uint64_t per_socket(const topology::Shape& shape) {
    return per_die(shape) * shape.dies;
}

kvm_cpuid_entry2 subleaf_of(std::uint32_t leaf, std::uint32_t subleaf, const Level& level) {
    return {.function = leaf,
            .index = subleaf,
            .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = set_field(0, 0, 5, level.shift),
            .ebx = set_field(0, 0, 16, level.processors),
            .ecx = set_field(set_field(0, 0, 8, subleaf), 8, 8, level.type),
            .edx = 0,
            .padding = {}};
}

} // namespace

std::vector<Level> levels_of_topology(const topology::Shape& shape) {
    const auto widths = field_widths(shape);
    return {{.type = smt, .shift = widths.core_shift(), .processors = shape.threads},
            {.type = core, .shift = widths.socket_shift(), .processors = per_socket(shape)}};
}

std::vector<Level> levels_of_topology_v2(const topology::Shape& shape) {
    const auto widths = field_widths(shape);
    std::vector<Level> levels{{.type = smt, .shift = widths.core_shift(), .processors = shape.threads},
                              {.type = core, .shift = widths.die_shift(), .processors = per_die(shape)}};
    if (shape.dies > 1)
        levels.push_back({.type = die, .shift = widths.socket_shift(), .processors = per_socket(shape)});
    return levels;
}

std::vector<Level> levels_of_amd_topology(const topology::Shape& shape) {
    const auto widths = field_widths(shape);
    return {{.type = amd_core, .shift = widths.core_shift(), .processors = shape.threads},
            {.type = amd_complex, .shift = widths.die_shift(), .processors = per_die(shape)},
            {.type = amd_die, .shift = widths.die_shift(), .processors = per_die(shape)},
            {.type = amd_socket, .shift = widths.socket_shift(), .processors = per_socket(shape)}};
}

Table level_entries(std::uint32_t leaf, const std::vector<Level>& levels) {
    Table table;
    for (const auto& level : levels)
        table.push_back(subleaf_of(leaf, static_cast<std::uint32_t>(table.size()), level));
    table.push_back(subleaf_of(leaf, static_cast<std::uint32_t>(table.size()), Level{}));
    return table;
}

} // namespace nestbed::core::cpu
