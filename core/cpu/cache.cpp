#include "core/cpu/cache.hpp"

#include <algorithm>
#include <bit>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

namespace {

constexpr std::uint32_t max_believable_bytes_log2 = 34; // 16 GiB; the largest L3 sold so far is near 1 GiB
constexpr std::uint32_t self_initialising = bit(8);

Cache decode(const kvm_cpuid_entry2& entry) {
    return {.type = get_field(entry.eax, 0, 5),
            .level = get_field(entry.eax, 5, 3),
            .fully_associative = has_bit(entry.eax, 9),
            .ebx = entry.ebx,
            .ecx = entry.ecx,
            .edx = entry.edx};
}

bool is_believable(const Cache& cache) {
    const auto line = get_field(cache.ebx, 0, 12) + 1;
    const auto partitions = get_field(cache.ebx, 12, 10) + 1;
    const auto ways = get_field(cache.ebx, 22, 10) + 1;
    // At most 2^12 * 2^10 * 2^10, so that the shift below cannot lose the comparison to an overflow.
    const auto bytes_per_set = std::uint64_t{line} * partitions * ways;
    const auto sets = std::uint64_t{cache.ecx} + 1;
    return cache.type >= 1 && cache.type <= 3 && cache.level >= 1 && cache.level <= 4 && line >= 16 &&
           std::has_single_bit(line) &&
           sets <= (std::uint64_t{1} << max_believable_bytes_log2) / bytes_per_set;
}

bool same_cache(const Cache& a, const Cache& b) {
    return a.level == b.level && (a.type == b.type || a.type == 3 || b.type == 3);
}

std::vector<Cache> default_caches() {
    const auto geometry = [](std::uint32_t line, std::uint32_t ways) {
        return (ways - 1) << 22 | (line - 1);
    };
    return {
        {.type = 1, .level = 1, .ebx = geometry(64, 8), .ecx = 64 - 1},
        {.type = 2, .level = 1, .ebx = geometry(64, 8), .ecx = 64 - 1},
        {.type = 3, .level = 2, .ebx = geometry(64, 16), .ecx = 1024 - 1},
        {.type = 3, .level = 3, .ebx = geometry(64, 16), .ecx = 32768 - 1},
    };
}

} // namespace

std::vector<Cache> caches_of(const Table& supported, Vendor vendor) {
    const auto leaf = is_amd_like(vendor) ? leaf::amd_caches : leaf::intel_caches;
    std::vector<Cache> caches;
    for (std::uint32_t subleaf = 0;; ++subleaf) {
        const auto* const entry = find(supported, leaf, subleaf);
        if (entry == nullptr || entry->index != subleaf || get_field(entry->eax, 0, 5) == 0)
            break;
        const auto cache = decode(*entry);
        const auto is_same = [&](const Cache& earlier) { return same_cache(earlier, cache); };
        if (!is_believable(cache) || std::ranges::any_of(caches, is_same))
            return default_caches();
        caches.push_back(cache);
    }
    return caches.empty() ? default_caches() : caches;
}

unsigned sharing_bits(std::uint32_t level, const topology::FieldWidths& widths) {
    return level <= 2 ? widths.core_shift() : widths.die_shift();
}

Table cache_entries(const std::vector<Cache>& caches, Vendor vendor, const topology::FieldWidths& widths) {
    const auto leaf = is_amd_like(vendor) ? leaf::amd_caches : leaf::intel_caches;
    Table table;
    for (const auto& cache : caches) {
        auto eax = cache.type | cache.level << 5 | self_initialising;
        eax = set_bit(eax, 9, cache.fully_associative);
        // Both fields count ids, not processors, less 1: powers of two, so that an OS that divides an id by
        // them finds the groups of a sparse id space too.
        eax = set_field(eax, 14, 12, (std::uint64_t{1} << sharing_bits(cache.level, widths)) - 1);
        if (!is_amd_like(vendor)) // reserved in 0x8000001D
            eax = set_field(eax, 26, 6,
                            (std::uint64_t{1} << (widths.socket_shift() - widths.core_shift())) - 1);
        table.push_back({.function = leaf,
                         .index = static_cast<std::uint32_t>(table.size()),
                         .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                         .eax = eax,
                         .ebx = cache.ebx,
                         .ecx = cache.ecx,
                         .edx = cache.edx,
                         .padding = {}});
    }
    table.push_back({.function = leaf,
                     .index = static_cast<std::uint32_t>(table.size()),
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                     .eax = 0,
                     .ebx = 0,
                     .ecx = 0,
                     .edx = 0,
                     .padding = {}});
    return table;
}

} // namespace nestbed::core::cpu
