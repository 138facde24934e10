#include "host_tables.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace nestbed::core::cpu::test {

namespace {

kvm_cpuid_entry2 plain(std::uint32_t leaf, std::uint32_t eax, std::uint32_t ebx, std::uint32_t ecx,
                       std::uint32_t edx) {
    return {.function = leaf,
            .index = 0,
            .flags = 0,
            .eax = eax,
            .ebx = ebx,
            .ecx = ecx,
            .edx = edx,
            .padding = {}};
}

kvm_cpuid_entry2 indexed(std::uint32_t leaf, std::uint32_t subleaf, std::uint32_t eax, std::uint32_t ebx,
                         std::uint32_t ecx, std::uint32_t edx) {
    auto entry = plain(leaf, eax, ebx, ecx, edx);
    entry.index = subleaf;
    entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return entry;
}

// Ice Lake server, two sockets of 32 cores and 64 threads. KVM passes the host's cache sharing and the
// levels of the CPU it ran on (here the one with id 0x2b).
Table ice_lake() {
    return {
        plain(0x0, 0x1b, 0x756e6547, 0x6c65746e, 0x49656e69),
        plain(0x1, 0x606a6, 0x2b400800, 0xfffab223, 0x0f8bfbff), // VMX, no HTT
        indexed(0x4, 0, 0xfc004121, 0x02c0003f, 0x3f, 0x0),      // L1d 48 KiB
        indexed(0x4, 1, 0xfc004122, 0x01c0003f, 0x3f, 0x0),      // L1i 32 KiB
        indexed(0x4, 2, 0xfc004143, 0x04c0003f, 0x3ff, 0x0),     // L2 1.25 MiB
        indexed(0x4, 3, 0xfc0fc163, 0x02c0003f, 0xffff, 0x4),    // L3 48 MiB, 64 threads
        indexed(0x4, 4, 0x0, 0x0, 0x0, 0x0),
        indexed(0x7, 0, 0x2, 0xf1bf07ab, 0x405f5e, 0xfc000410),
        indexed(0xb, 0, 0x1, 0x2, 0x100, 0x2b),
        indexed(0xb, 1, 0x6, 0x40, 0x201, 0x2b),
        indexed(0xb, 2, 0x0, 0x0, 0x2, 0x2b),
        indexed(0xd, 0, 0x2e7, 0xa88, 0xa88, 0x0),
        indexed(0xd, 1, 0xf, 0xa08, 0x0, 0x0),
        plain(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
        plain(0x40000001, 0x01007efb, 0x0, 0x0, 0x0),
        plain(0x80000000, 0x80000008, 0x0, 0x0, 0x0),
        plain(0x80000001, 0x0, 0x0, 0x121, 0x2c100800),
        plain(0x80000008, 0x3934, 0x0, 0x0, 0x0),
    };
}

// A small Intel table that ends below leaf 0xB, as under emulation, with no leaf 4 and no paravirtual leaves.
Table old_intel() {
    return {
        plain(0x0, 0x7, 0x756e6547, 0x6c65746e, 0x49656e69),
        plain(0x1, 0x106a5, 0x00010800, 0x80982221, 0x078bfbff),
        plain(0x80000000, 0x80000008, 0x0, 0x0, 0x0),
        plain(0x80000001, 0x0, 0x0, 0x1, 0x28100800),
        plain(0x80000008, 0x3028, 0x0, 0x0, 0x0),
    };
}

// Milan, one socket of 64 cores and 128 threads; eight cores share an L3.
Table milan() {
    return {
        plain(0x0, 0x10, 0x68747541, 0x444d4163, 0x69746e65),
        plain(0x1, 0xa00f11, 0x05800800, 0xfefa3203, 0x078bfbff),
        indexed(0x7, 0, 0x0, 0x219c07ab, 0x40060c, 0xac000010),
        indexed(0xb, 0, 0x0, 0x0, 0x0, 0x5),
        indexed(0xd, 0, 0x207, 0x988, 0x988, 0x0),
        indexed(0xd, 1, 0xf, 0x358, 0x0, 0x0),
        plain(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
        plain(0x40000001, 0x01007efb, 0x0, 0x0, 0x0),
        plain(0x80000000, 0x80000021, 0x68747541, 0x444d4163, 0x69746e65),
        plain(0x80000001, 0xa00f11, 0x40000000, 0x004003f7, 0x2fd3fbff), // SVM, TOPOEXT, CmpLegacy
        plain(0x80000005, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140),
        plain(0x80000006, 0x48002200, 0x68004200, 0x02006140, 0x08009140),
        plain(0x80000008, 0x3030, 0x111ed205, 0x0000707f, 0x0),
        plain(0x8000000a, 0x1, 0x8000, 0x0, 0x1bcff),
        indexed(0x8000001d, 0, 0x4121, 0x01c0003f, 0x3f, 0x0),
        indexed(0x8000001d, 1, 0x4122, 0x01c0003f, 0x3f, 0x0),
        indexed(0x8000001d, 2, 0x4143, 0x01c0003f, 0x3ff, 0x2),
        indexed(0x8000001d, 3, 0x3c163, 0x03c0003f, 0x7fff, 0x1),
        indexed(0x8000001d, 4, 0x0, 0x0, 0x0, 0x0),
        plain(0x8000001e, 0x0, 0x0, 0x0, 0x0),
    };
}

// What the emulated EPYC offers: SVM but no TOPOEXT, and a maximum leaf below 0xB.
Table emulated_epyc() {
    return {
        plain(0x0, 0x7, 0x68747541, 0x444d4163, 0x69746e65),
        plain(0x1, 0x800f12, 0x01010800, 0x80a02001, 0x078bfbff),
        plain(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
        plain(0x40000001, 0x01007efb, 0x0, 0x0, 0x0),
        plain(0x80000000, 0x8000000a, 0x68747541, 0x444d4163, 0x69746e65),
        plain(0x80000001, 0x800f12, 0x0, 0x00000175, 0x2fd3fbff),
        plain(0x80000008, 0x3028, 0x0, 0x3, 0x0),
        plain(0x8000000a, 0x1, 0x10, 0x0, 0x10000001),
    };
}

// Hygon is Zen under another name; Zhaoxin follows Intel.
Table renamed(Table table, std::uint32_t ebx, std::uint32_t ecx, std::uint32_t edx) {
    table[0] = plain(0x0, table[0].eax, ebx, ecx, edx);
    return table;
}

} // namespace

const std::vector<HostTable>& all_hosts() {
    static const std::vector<HostTable> hosts{
        {.name = "IceLake", .vendor = Vendor::intel, .table = ice_lake()},
        {.name = "OldIntel", .vendor = Vendor::intel, .table = old_intel()},
        {.name = "Milan", .vendor = Vendor::amd, .table = milan()},
        {.name = "EmulatedEpyc", .vendor = Vendor::amd, .table = emulated_epyc()},
        {.name = "Dhyana",
         .vendor = Vendor::hygon,
         .table = renamed(milan(), 0x6f677948, 0x656e6975, 0x6e65476e)},
        {.name = "Zhaoxin",
         .vendor = Vendor::other,
         .table = renamed(ice_lake(), 0x68532020, 0x20206961, 0x68676e61)},
    };
    return hosts;
}

const HostTable& host_named(const std::string& name) {
    return *std::ranges::find(all_hosts(), name, &HostTable::name);
}

} // namespace nestbed::core::cpu::test
