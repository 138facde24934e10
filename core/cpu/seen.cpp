#include "core/cpu/seen.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"

namespace nestbed::core::cpu {

namespace {

// Those that say something of it beside other things included.
bool concerns_topology(std::uint32_t leaf) {
    switch (leaf) {
    case leaf::vendor:
    case leaf::features:
    case leaf::extended_max:
    case leaf::extended_features:
    case leaf::address_sizes:
        return true;
    default:
        return is_of_topology(leaf);
    }
}

struct ExpectedLevel {
    std::uint32_t type;
    unsigned shift;
    std::uint64_t processors;
};

// Expectations come from the shape by a way of their own, not from the code that wrote the table.
class Judge {
public:
    Judge(const topology::Shape& shape, std::uint32_t vcpu, std::span<const SeenCpuid> seen)
        : _shape{shape}, _widths{field_widths(shape)}, _apic_id{apic_id_of(shape, vcpu)}, _seen{seen} {}

    std::vector<std::string> judge(std::uint32_t x2apic_id_msr) {
        if (x2apic_id_msr != _apic_id)
            complain("x2APIC id register (MSR 0x802)", x2apic_id_msr, _apic_id);
        const auto* const first = require(leaf::vendor, 0);
        if (first == nullptr)
            return std::move(_complaints);
        _amd = is_amd_like(vendor_of(first->ebx, first->ecx, first->edx));
        judge_max_leaf(*first, _amd ? leaf::topology : leaf::topology_v2);
        judge_features();
        const auto all = per_die() * _shape.dies;
        judge_levels(leaf::topology,
                     {{1, _widths.core_shift(), _shape.threads}, {2, _widths.socket_shift(), all}});
        if (_amd)
            judge_amd();
        else
            judge_intel();
        return std::move(_complaints);
    }

private:
    [[nodiscard]] std::uint64_t per_die() const { return std::uint64_t{_shape.cores} * _shape.threads; }

    void complain(std::string_view what, std::uint32_t found, std::uint32_t expected) {
        _complaints.push_back(fmt::format("{} is {:#x}, should be {:#x}", what, found, expected));
    }

    void expect(const SeenCpuid& at, std::string_view what, std::uint32_t found, std::uint32_t expected) {
        if (found != expected)
            complain(fmt::format("leaf {:#x} subleaf {}: {}", at.leaf, at.subleaf, what), found, expected);
    }

    const SeenCpuid* require(std::uint32_t leaf, std::uint32_t subleaf) {
        const auto found = std::ranges::find_if(_seen, [&](const SeenCpuid& candidate) {
            return candidate.leaf == leaf && candidate.subleaf == subleaf;
        });
        if (found != _seen.end())
            return &*found;
        _complaints.push_back(fmt::format("leaf {:#x} subleaf {}: not dumped", leaf, subleaf));
        return nullptr;
    }

    void judge_max_leaf(const SeenCpuid& range, std::uint32_t needed) {
        if (range.eax < needed)
            _complaints.push_back(fmt::format("leaf {:#x}: maximum leaf is {:#x}, which hides leaf {:#x}",
                                              range.leaf, range.eax, needed));
    }

    void judge_features() {
        const auto* const at = require(leaf::features, 0);
        if (at == nullptr)
            return;
        const auto all = per_die() * _shape.dies;
        const auto ids = std::uint64_t{1} << _widths.socket_shift();
        expect(*at, "initial APIC id", get_field(at->ebx, 24, 8), _apic_id & 0xff);
        expect(*at, "logical processors per package", get_field(at->ebx, 16, 8),
               saturated(_amd ? all : ids, 8));
        if (all > 1) // where it is one, the count says so
            expect(*at, "HTT", get_field(at->edx, feature::htt, 1), 1);
        expect(*at, "x2APIC", get_field(at->ecx, feature::x2apic, 1), 1);
    }

    void judge_levels(std::uint32_t leaf, const std::vector<ExpectedLevel>& levels) {
        std::uint32_t subleaf = 0;
        for (const auto& level : levels) {
            if (const auto* const at = require(leaf, subleaf)) {
                expect(*at, "level type", get_field(at->ecx, 8, 8), level.type);
                expect(*at, "shift", get_field(at->eax, 0, 5), level.shift);
                expect(*at, "processors at this level", get_field(at->ebx, 0, 16),
                       saturated(level.processors, 16));
                judge_subleaf_and_id(*at);
            }
            ++subleaf;
        }
        // Intel ends at level type 0, AMD at no processors; an OS may look at either.
        if (const auto* const at = require(leaf, subleaf)) {
            expect(*at, "level type of the terminating subleaf", get_field(at->ecx, 8, 8), 0);
            expect(*at, "shift of the terminating subleaf", get_field(at->eax, 0, 5), 0);
            expect(*at, "processors at the terminating subleaf", get_field(at->ebx, 0, 16), 0);
            judge_subleaf_and_id(*at);
        }
    }

    void judge_subleaf_and_id(const SeenCpuid& at) {
        expect(at, "level number", get_field(at.ecx, 0, 8), at.subleaf);
        expect(at, "x2APIC id", at.edx, _apic_id);
    }

    void judge_caches(std::uint32_t leaf) {
        for (std::uint32_t subleaf = 0;; ++subleaf) {
            const auto* const at = require(leaf, subleaf);
            if (at == nullptr)
                return;
            if (get_field(at->eax, 0, 5) == 0) {
                if (subleaf == 0)
                    _complaints.push_back(fmt::format("leaf {:#x}: no cache at all", leaf));
                return;
            }
            const auto level = get_field(at->eax, 5, 3);
            const auto shared = level <= 2 ? _widths.core_shift() : _widths.die_shift();
            expect(*at, fmt::format("ids that share the level {} cache, less 1", level),
                   get_field(at->eax, 14, 12), saturated((std::uint64_t{1} << shared) - 1, 12));
            const auto core_ids = std::uint64_t{1} << (_widths.socket_shift() - _widths.core_shift());
            expect(*at, _amd ? "reserved bits 31:26" : "core ids per package, less 1",
                   get_field(at->eax, 26, 6), _amd ? 0 : saturated(core_ids - 1, 6));
        }
    }

    void judge_intel() {
        std::vector<ExpectedLevel> levels{{1, _widths.core_shift(), _shape.threads},
                                          {2, _widths.die_shift(), per_die()}};
        if (_shape.dies > 1)
            levels.push_back({5, _widths.socket_shift(), per_die() * _shape.dies});
        judge_levels(leaf::topology_v2, levels);
        judge_caches(leaf::intel_caches);
    }

    void judge_amd() {
        const auto all = per_die() * _shape.dies;
        if (const auto* const range = require(leaf::extended_max, 0))
            judge_max_leaf(*range, leaf::amd_topology);
        if (const auto* const at = require(leaf::extended_features, 0)) {
            expect(*at, "TOPOEXT", get_field(at->ecx, feature::topoext, 1), 1);
            expect(*at, "CmpLegacy", get_field(at->ecx, feature::cmp_legacy, 1), all > 1 ? 1 : 0);
        }
        if (const auto* const at = require(leaf::address_sizes, 0)) {
            expect(*at, "NC", get_field(at->ecx, 0, 8), saturated(all - 1, 8));
            expect(*at, "ApicIdSize", get_field(at->ecx, 12, 4), saturated(_widths.socket_shift(), 4));
        }
        judge_levels(leaf::amd_topology, {{1, _widths.core_shift(), _shape.threads},
                                          {2, _widths.die_shift(), per_die()},
                                          {3, _widths.die_shift(), per_die()},
                                          {4, _widths.socket_shift(), all}});
        judge_caches(leaf::amd_caches);
        judge_amd_ids();
    }

    void judge_amd_ids() {
        const auto* const at = require(leaf::amd_ids, 0);
        if (at == nullptr)
            return;
        const auto core = (_apic_id & field_max(_widths.socket_shift())) >> _widths.core_shift();
        expect(*at, "extended APIC id", at->eax, _apic_id);
        expect(*at, "core id", get_field(at->ebx, 0, 8), saturated(core, 8));
        expect(*at, "threads per core, less 1", get_field(at->ebx, 8, 8), saturated(_shape.threads - 1, 8));
        expect(*at, "node id", get_field(at->ecx, 0, 8), saturated(_apic_id >> _widths.die_shift(), 8));
        expect(*at, "nodes per package, less 1", get_field(at->ecx, 8, 3), saturated(_shape.dies - 1, 3));
    }

    topology::Shape _shape;
    topology::FieldWidths _widths;
    std::uint32_t _apic_id;
    std::span<const SeenCpuid> _seen;
    bool _amd = false;
    std::vector<std::string> _complaints;
};

} // namespace

std::vector<LeafId> leaves_to_dump(const Table& guest_cpuid) {
    std::vector<LeafId> leaves;
    for (const auto& entry : guest_cpuid)
        if (concerns_topology(entry.function))
            leaves.push_back({.leaf = entry.function, .subleaf = entry.index});
    return leaves;
}

std::vector<std::string> topology_complaints(const topology::Shape& shape, std::uint32_t vcpu,
                                             std::span<const SeenCpuid> seen, std::uint32_t x2apic_id_msr) {
    return Judge{shape, vcpu, seen}.judge(x2apic_id_msr);
}

} // namespace nestbed::core::cpu
