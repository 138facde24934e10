#include "guest_view.hpp"

#include <map>

namespace nestbed::core::cpu::test {

SeenCpuid execute(const Table& table, std::uint32_t leaf, std::uint32_t subleaf) {
    SeenCpuid seen{.leaf = leaf, .subleaf = subleaf};
    if (const auto* const entry = find(table, leaf, subleaf)) {
        seen.eax = entry->eax;
        seen.ebx = entry->ebx;
        seen.ecx = entry->ecx;
        seen.edx = entry->edx;
    }
    return seen;
}

std::vector<SeenCpuid> dump(const Table& table) {
    std::vector<SeenCpuid> seen;
    for (const auto& id : leaves_to_dump(table))
        seen.push_back(execute(table, id.leaf, id.subleaf));
    return seen;
}

std::optional<Place> decode_levels(const Table& table, std::uint32_t leaf) {
    const std::uint32_t range = leaf & 0x80000000;
    if (execute(table, range).eax < leaf)
        return std::nullopt;

    std::map<std::uint32_t, unsigned> shift_by_type;
    std::optional<std::uint32_t> id;
    unsigned last_shift = 0;
    for (std::uint32_t subleaf = 0;; ++subleaf) {
        const auto seen = execute(table, leaf, subleaf);
        if (id && *id != seen.edx)
            return std::nullopt;
        id = seen.edx;
        const auto type = (seen.ecx >> 8) & 0xff;
        if (type == 0 || (seen.ebx & 0xffff) == 0)
            break;
        const auto shift = seen.eax & 31;
        if (shift < last_shift || (std::uint64_t{1} << shift) < (seen.ebx & 0xffff) ||
            shift_by_type.contains(type))
            return std::nullopt;
        shift_by_type[type] = shift;
        last_shift = shift;
    }
    if (!shift_by_type.contains(1) || !id)
        return std::nullopt;

    // The end of the core field: the first level above it, or where that leaf has none, the package.
    const bool amd = leaf == 0x80000026;
    const auto die_level = shift_by_type.find(amd ? 3 : 2);
    const auto bits = [&](unsigned from, unsigned to) { return *id >> from & ((1U << (to - from)) - 1); };
    const auto thread_end = shift_by_type[1];
    const auto core_end = die_level == shift_by_type.end() ? last_shift : die_level->second;
    return Place{.x2apic_id = *id,
                 .package = *id >> last_shift,
                 .die = bits(core_end, last_shift),
                 .core = bits(thread_end, core_end),
                 .thread = bits(0, thread_end)};
}

} // namespace nestbed::core::cpu::test
