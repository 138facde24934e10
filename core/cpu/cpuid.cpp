#include "core/cpu/cpuid.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/cpu/bits.hpp"
#include "core/cpu/cache.hpp"
#include "core/cpu/leaves.hpp"
#include "core/cpu/levels.hpp"

namespace nestbed::core::cpu {

namespace {

// The entry of a leaf without subleaves, added where the host has none. The reference holds until the next
// call.
kvm_cpuid_entry2& entry_of(Table& table, std::uint32_t leaf) {
    const auto found =
        std::ranges::find_if(table, [&](const kvm_cpuid_entry2& entry) { return entry.function == leaf; });
    if (found != table.end())
        return *found;
    table.push_back(
        {.function = leaf, .index = 0, .flags = 0, .eax = 0, .ebx = 0, .ecx = 0, .edx = 0, .padding = {}});
    return table.back();
}

void raise_max_leaf(Table& table, std::uint32_t range, std::uint32_t leaf) {
    auto& entry = entry_of(table, range);
    entry.eax = std::max(entry.eax, leaf);
}

std::uint64_t processors_per_socket(const topology::Shape& shape) {
    return std::uint64_t{shape.dies} * shape.cores * shape.threads;
}

void write_features(Table& table, Vendor vendor, const GuestCpuidOptions& options) {
    const auto per_socket = processors_per_socket(options.shape);
    const auto ids_per_socket = std::uint64_t{1} << field_widths(options.shape).socket_shift();
    auto& entry = entry_of(table, leaf::features);
    // Intel counts ids here (SDM volume 2, CPUID leaf 01H), AMD processors (APM volume 3, appendix E,
    // Fn0000_0001).
    entry.ebx = set_field(entry.ebx, 16, 8, is_amd_like(vendor) ? per_socket : ids_per_socket);
    entry.ecx = set_bit(entry.ecx, feature::x2apic, true);
    entry.ecx = set_bit(entry.ecx, feature::hypervisor, true);
    entry.ecx = set_bit(entry.ecx, feature::tsc_deadline, options.tsc_deadline);
    if (!options.nested)
        entry.ecx = set_bit(entry.ecx, feature::vmx, false);
    entry.edx = set_bit(entry.edx, feature::htt, per_socket > 1);
}

void write_extended_features(Table& table, Vendor vendor, const GuestCpuidOptions& options) {
    auto& entry = entry_of(table, leaf::extended_features);
    // Single bits only: SVM and its neighbours are none of the topology's business.
    const bool amd = is_amd_like(vendor);
    entry.ecx = set_bit(entry.ecx, feature::cmp_legacy, amd && processors_per_socket(options.shape) > 1);
    entry.ecx = set_bit(entry.ecx, feature::topoext, amd);
    if (options.nested) {
        for (auto& other : table)
            if (other.function == leaf::svm)
                other.edx &= ~options.hidden_svm;
        return;
    }
    entry.ecx = set_bit(entry.ecx, feature::svm, false);
    std::erase_if(table, [](const kvm_cpuid_entry2& other) { return other.function == leaf::svm; });
}

void write_address_sizes(Table& table, Vendor vendor, const topology::Shape& shape) {
    auto& entry = entry_of(table, leaf::address_sizes);
    // An entry of our own making must not say 0 physical address bits; 36 and 48 are what an OS assumes
    // without the leaf.
    if (entry.eax == 0)
        entry.eax = 48U << 8 | 36U;
    if (!is_amd_like(vendor)) { // reserved
        entry.ecx = 0;
        return;
    }
    // NC and ApicIdSize (APM volume 3, appendix E, Fn8000_0008); the latter is what holds where the former is
    // saturated.
    entry.ecx = set_field(entry.ecx, 0, 8, processors_per_socket(shape) - 1);
    entry.ecx = set_field(entry.ecx, 12, 4, field_widths(shape).socket_shift());
}

void write_paravirtual_features(Table& table, bool ext_dest_id) {
    if (find(table, leaf::kvm_signature) == nullptr) {
        auto& signature = entry_of(table, leaf::kvm_signature);
        signature.ebx = 0x4b4d564b; // "KVMK"
        signature.ecx = 0x564b4d56; // "VMKV"
        signature.edx = 0x0000004d; // "M"
    }
    raise_max_leaf(table, leaf::kvm_signature, leaf::kvm_features);
    auto& features = entry_of(table, leaf::kvm_features);
    features.eax = set_bit(features.eax, feature::msi_ext_dest_id, ext_dest_id);
}

void append(Table& table, const Table& more) {
    table.insert(table.end(), more.begin(), more.end());
}

void write_topology(Table& table, Vendor vendor, const std::vector<Cache>& caches,
                    const topology::Shape& shape) {
    append(table, cache_entries(caches, vendor, field_widths(shape)));
    append(table, level_entries(leaf::topology, levels_of_topology(shape)));
    if (!is_amd_like(vendor)) {
        raise_max_leaf(table, leaf::vendor, leaf::topology_v2);
        append(table, level_entries(leaf::topology_v2, levels_of_topology_v2(shape)));
        return;
    }
    raise_max_leaf(table, leaf::vendor, leaf::topology);
    raise_max_leaf(table, leaf::extended_max, leaf::amd_topology);
    append(table, level_entries(leaf::amd_topology, levels_of_amd_topology(shape)));
    entry_of(table, leaf::amd_ids); // filled in for each vCPU
}

// Leaf 0x8000001E (APM volume 3, appendix E, Fn8000_001E). Core and node ids are the id's own bits, so that
// they agree with what the level leaves say; nodes are the guest's dies.
void write_amd_ids(kvm_cpuid_entry2& entry, const topology::Shape& shape, std::uint32_t apic_id) {
    const auto widths = field_widths(shape);
    const auto id_in_socket = apic_id & field_max(widths.socket_shift());
    entry.eax = apic_id;
    entry.ebx = set_field(set_field(0, 0, 8, id_in_socket >> widths.core_shift()), 8, 8, shape.threads - 1);
    entry.ecx = set_field(set_field(0, 0, 8, apic_id >> widths.die_shift()), 8, 3, shape.dies - 1);
}

} // namespace

Table guest_template(const Table& offered, const GuestCpuidOptions& options) {
    const auto supported = with_vendor(offered, options.shown.vendor);
    const auto vendor = vendor_of(supported);
    Table table;
    table.reserve(supported.size() + 32);
    std::ranges::copy_if(supported, std::back_inserter(table),
                         [](const kvm_cpuid_entry2& entry) { return !is_of_topology(entry.function); });
    write_features(table, vendor, options);
    write_topology(table, vendor, caches_of(supported, vendor), options.shape);
    raise_max_leaf(table, leaf::extended_max, leaf::address_sizes);
    write_extended_features(table, vendor, options);
    write_address_sizes(table, vendor, options.shape);
    write_paravirtual_features(table, options.ext_dest_id);
    std::ranges::stable_sort(table, {}, [](const kvm_cpuid_entry2& entry) {
        return std::tuple{entry.function, entry.index};
    });
    return without_bits(std::move(table), options.shown.hidden);
}

Table for_vcpu(const Table& guest_template, const topology::Shape& shape, std::uint32_t vcpu) {
    const auto apic_id = apic_id_of(shape, vcpu);
    Table table = guest_template;
    for (auto& entry : table) {
        switch (entry.function) {
        case leaf::features:
            // The low 8 bits, not a saturated id: an OS compares them with the x2APIC id's (SDM volume 3,
            // "Local APIC ID").
            entry.ebx = set_field(entry.ebx, 24, 8, apic_id & 0xff);
            break;
        case leaf::topology:
        case leaf::topology_v2:
        case leaf::amd_topology:
            entry.edx = apic_id;
            break;
        case leaf::amd_ids:
            write_amd_ids(entry, shape, apic_id);
            break;
        default:
            break;
        }
    }
    return table;
}

} // namespace nestbed::core::cpu
