// EPT entries with values that are not supported, at each level: an EPT misconfiguration whatever the access,
// before any permission is looked at.
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

// Where the entry with this change is looked at.
struct Place {
    PageSize leaf;
    unsigned level;
};

void misconfigured(Place place, std::uint64_t without, std::uint64_t with) {
    if (!Window::possible(place.leaf))
        return;
    Window window{place.leaf};
    auto& entry = window.ept_entry(place.level);
    const auto before = entry;
    for (const auto ring : every_ring)
        for (const auto access : every_access) {
            const Text what{text_of(access), " in ring ", ring};
            entry = (before & ~without) | with;
            window.start(access, ring);
            if (!window.expect_misconfiguration(what))
                return;
            expect_equal(read(Field::idt_vectoring_information) >> 31, 0U,
                         "IDT-vectoring information, valid");
            expect_equal(read(Field::exit_interruption_information) >> 31, 0U,
                         "VM-exit interruption information, valid");
            entry = before;
            window.ept.invalidate();
            window.finish(Text{what, ", then mended"});
        }
}

constexpr Place every_place[]{{PageSize::k4, 1}, {PageSize::k4, 2}, {PageSize::k4, 3},
                              {PageSize::k4, 4}, {PageSize::m2, 2}, {PageSize::m2, 3},
                              {PageSize::m2, 4}, {PageSize::g1, 3}, {PageSize::g1, 4}};

// One bit set for a single access, for tests of many bits.
void misconfigured_by_bit(Window& window, unsigned level, unsigned bit) {
    auto& entry = window.ept_entry(level);
    const auto before = entry;
    const Text what{"bit ", bit, " of an entry of level ", level};
    entry |= std::uint64_t{1} << bit;
    window.start(Touch::read, 0);
    if (window.expect_misconfiguration(what)) {
        entry = before;
        window.ept.invalidate();
        window.finish(Text{what, ", cleared again"});
    }
    entry = before;
}

void reserved_bits(Place place, unsigned first, unsigned last) {
    if (!Window::possible(place.leaf))
        return;
    if (first > last)
        return not_applicable("no address bit is reserved");
    Window window{place.leaf};
    for (unsigned bit = first; bit <= last; ++bit)
        misconfigured_by_bit(window, place.level, bit);
}

} // namespace

#define AT(leaf, leaf_name, level)                                                                           \
    VMX_TEST(misconfiguration_w_##leaf##_##level,                                                            \
             "vmx.ept.misconfiguration_" leaf_name "_level" #level "_w",                                     \
             "W without R is a misconfiguration", "EPT Misconfigurations", .needs = "ept") {                 \
        misconfigured({PageSize::leaf, level}, ept_bit::all, ept_bit::write);                                \
    }                                                                                                        \
    VMX_TEST(misconfiguration_wx_##leaf##_##level,                                                           \
             "vmx.ept.misconfiguration_" leaf_name "_level" #level "_wx",                                    \
             "W and X without R are a misconfiguration", "EPT Misconfigurations", .needs = "ept") {          \
        misconfigured({PageSize::leaf, level}, ept_bit::all, ept_bit::write | ept_bit::execute);             \
    }                                                                                                        \
    VMX_TEST(misconfiguration_address_##leaf##_##level,                                                      \
             "vmx.ept.misconfiguration_" leaf_name "_level" #level "_address",                               \
             "An address bit beyond MAXPHYADDR is a misconfiguration", "EPT Misconfigurations",              \
             .needs = "ept") {                                                                               \
        reserved_bits({PageSize::leaf, level}, physical_address_bits(), 51);                                 \
    }
AT(k4, "4k", 1)
AT(k4, "4k", 2)
AT(k4, "4k", 3)
AT(k4, "4k", 4)
AT(m2, "2m", 2)
AT(m2, "2m", 3)
AT(m2, "2m", 4)
AT(g1, "1g", 3)
AT(g1, "1g", 4)

VMX_TEST(misconfiguration_x, "vmx.ept.misconfiguration_x",
         "X alone is a misconfiguration at every level where execute-only is not offered",
         "EPT Misconfigurations", .needs = "ept") {
    if (has_execute_only())
        return not_applicable("EPT has execute-only translations");
    for (const auto place : every_place)
        if (has_page_size(place.leaf))
            misconfigured(place, ept_bit::all, ept_bit::execute);
}

VMX_TEST(misconfiguration_low_2, "vmx.ept.misconfiguration_level2_low_bits",
         "Bits 6:3 of an entry that refers to a page table are reserved", "EPT Misconfigurations",
         .needs = "ept") {
    reserved_bits({PageSize::k4, 2}, 3, 6);
}
VMX_TEST(misconfiguration_low_3, "vmx.ept.misconfiguration_level3_low_bits",
         "Bits 6:3 of an entry that refers to a page directory are reserved", "EPT Misconfigurations",
         .needs = "ept") {
    reserved_bits({PageSize::k4, 3}, 3, 6);
}
VMX_TEST(misconfiguration_low_4, "vmx.ept.misconfiguration_level4_low_bits",
         "Bits 7:3 of an entry of level 4 are reserved, the page-size bit too", "EPT Misconfigurations",
         .needs = "ept") {
    reserved_bits({PageSize::k4, 4}, 3, 7);
}
VMX_TEST(misconfiguration_offset_2m, "vmx.ept.misconfiguration_2m_offset",
         "Bits 20:12 of an entry that maps 2 MiB are reserved", "EPT Misconfigurations",
         .needs = "ept,ept_2mb") {
    if (!Window::possible(PageSize::m2))
        return;
    reserved_bits({PageSize::m2, 2}, 12, 20);
}
VMX_TEST(misconfiguration_offset_1g, "vmx.ept.misconfiguration_1g_offset",
         "Bits 29:12 of an entry that maps 1 GiB are reserved", "EPT Misconfigurations",
         .needs = "ept,ept_1gb") {
    if (!Window::possible(PageSize::g1))
        return;
    reserved_bits({PageSize::g1, 3}, 12, 29);
}
VMX_TEST(misconfiguration_no_2m, "vmx.ept.misconfiguration_no_2m_pages",
         "The page-size bit at level 2 is reserved where 2 MiB pages are not offered",
         "EPT Misconfigurations", .needs = "ept") {
    if (has_page_size(PageSize::m2))
        return not_applicable("EPT has 2 MiB pages");
    misconfigured({PageSize::k4, 2}, 0, ept_bit::large);
}
VMX_TEST(misconfiguration_no_1g, "vmx.ept.misconfiguration_no_1g_pages",
         "The page-size bit at level 3 is reserved where 1 GiB pages are not offered",
         "EPT Misconfigurations", .needs = "ept") {
    if (has_page_size(PageSize::g1))
        return not_applicable("EPT has 1 GiB pages");
    misconfigured({PageSize::k4, 3}, 0, ept_bit::large);
}

namespace {

template<PageSize leaf>
void memory_types() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    auto& entry = window.ept_entry(static_cast<unsigned>(leaf));
    const auto before = entry;
    for (std::uint64_t type = 0; type < 8; ++type) {
        const bool supported = type != 2 && type != 3 && type != 7;
        for (const auto ignore_pat : {std::uint64_t{0}, ept_bit::ignore_pat}) {
            const Text what{"memory type ", type, ignore_pat != 0 ? ", ignoring PAT" : ""};
            entry = (before & ~ept_bit::memory_type) | type << ept_bit::memory_type_shift | ignore_pat;
            window.start(Touch::write, 0);
            if (supported)
                window.finish(what);
            else
                window.expect_misconfiguration(what);
        }
    }
}

} // namespace

VMX_CASE(misconfiguration_type_4k, "vmx.ept.misconfiguration_4k_memory_type",
         "Memory types 2, 3 and 7 are misconfigurations, all others are not", "EPT Misconfigurations",
         &memory_types<PageSize::k4>, .needs = "ept")
VMX_CASE(misconfiguration_type_2m, "vmx.ept.misconfiguration_2m_memory_type",
         "Memory types 2, 3 and 7 are misconfigurations, all others are not", "EPT Misconfigurations",
         &memory_types<PageSize::m2>, .needs = "ept")
VMX_CASE(misconfiguration_type_1g, "vmx.ept.misconfiguration_1g_memory_type",
         "Memory types 2, 3 and 7 are misconfigurations, all others are not", "EPT Misconfigurations",
         &memory_types<PageSize::g1>, .needs = "ept")

VMX_TEST(misconfiguration_not_present, "vmx.ept.misconfiguration_not_present_entry",
         "Nothing of an entry that is not present is reserved: an EPT violation", "EPT Misconfigurations",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    for (unsigned level = 1; level <= 4; ++level) {
        auto& entry = window.ept_entry(level);
        const auto before = entry;
        // Bit 63 is left out: it is about #VE, which is not in use.
        for (const auto bits : {~(ept_bit::all | std::uint64_t{1} << 63), std::uint64_t{0xf8},
                                std::uint64_t{0x000f'ffff'ffff'f000}}) {
            entry = bits;
            window.start(Touch::write, 0);
            window.expect_violation(0, Text{"level ", level, ", bits ", conform::Hex{bits}});
        }
        entry = before;
    }
}

VMX_TEST(misconfiguration_first, "vmx.ept.misconfiguration_before_violation",
         "A misconfigured entry below one that permits nothing of the access is a misconfiguration",
         "EPT-Induced VM Exits", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    // An EPT violation is there only where there is no misconfiguration on the way.
    window.ept_entry(3) &= ~ept_bit::write;
    window.ept_entry(1) |= ept_bit::memory_type;
    window.start(Touch::write, 0);
    window.expect_misconfiguration(Text{"a write that level 3 forbids, level 1 misconfigured"});
}
VMX_TEST(misconfiguration_hidden, "vmx.ept.misconfiguration_behind_not_present",
         "What is misconfigured below an entry that is not present is not met: an EPT violation",
         "EPT-Induced VM Exits", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    window.ept_entry(1) |= ept_bit::memory_type;
    window.ept_entry(3) &= ~ept_bit::all;
    window.start(Touch::read, 0);
    window.expect_violation(0, "level 3 is not present");
}

namespace {

// On the way to L2's own table at `level`.
template<unsigned level>
void walk_misconfigured() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.ept.entry(window.table_page(level), 1);
    const auto before = entry;
    const auto own = level == 4 ? window.own.root() : conform::physical(&window.own_entry(level));
    for (const auto access : every_access) {
        entry = before | ept_bit::memory_type;
        window.start(access, 0);
        if (!window.guest.run_to(ExitReason::ept_misconfiguration, text_of(access)))
            return;
        expect_equal(read(Field::guest_physical_address), own,
                     Text{text_of(access), ": guest-physical address, that of L2's entry"});
        entry = before;
        window.ept.invalidate();
        window.finish(text_of(access));
    }
}

} // namespace

#define WALK(level)                                                                                          \
    VMX_CASE(misconfiguration_walk_##level, "vmx.ept.misconfiguration_walk_level" #level,                    \
             "L2's paging structure behind a misconfigured entry: its own address is told",                  \
             "EPT Misconfigurations", &walk_misconfigured<level>, .needs = "ept")
WALK(1)
WALK(2)
WALK(3)
WALK(4)

VMX_TEST(misconfiguration_invalidated, "vmx.ept.misconfiguration_no_translation_kept",
         "After a misconfiguration is mended the access goes through without INVEPT", "EPT Misconfigurations",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    for (unsigned level = 1; level <= 4; ++level) {
        auto& entry = window.ept_entry(level);
        const auto before = entry;
        entry = (entry & ~ept_bit::all) | ept_bit::write;
        window.start(Touch::write, 0);
        window.expect_misconfiguration(Text{"level ", level});
        entry = before;
        window.finish(Text{"level ", level, ", mended"});
    }
}

} // namespace nestbed::vmx
