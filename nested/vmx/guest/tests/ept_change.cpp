// EPT that L1 changes between two runs, and several of them: what needs INVEPT and what must go without.
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint64_t first_value = 0x1111'2222'3333'4444;
constexpr std::uint64_t second_value = 0x5555'6666'7777'8888;

enum class Invept : unsigned { single_context = 1, all_contexts = 2 };

bool offered(Invept type) {
    if (has_invept(static_cast<unsigned>(type)))
        return true;
    not_applicable("this type of INVEPT is not offered");
    return false;
}

void invalidate(Invept type, std::uint64_t pointer) {
    expect_equal(invept(static_cast<unsigned>(type), {pointer, 0}), Outcome::succeed, "INVEPT");
}

// An EPT violation invalidates what it came from: more that is permitted then needs no INVEPT.
template<unsigned level, std::uint64_t permissions>
void permitted_without_invept() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.ept_entry(level);
    const auto before = entry;
    for (const auto access : every_access) {
        if (permits(permissions, access))
            continue;
        entry = before;
        window.start(Touch::read, 0);
        window.finish("a read while everything is permitted");
        entry = (before & ~ept_bit::all) | permissions;
        window.start(access, 0);
        if (!window.expect_violation(permissions, text_of(access)))
            return;
        entry = before;
        window.finish(Text{text_of(access), " without INVEPT"});
    }
}

// What is permitted no more is refused after INVEPT, though the translation was in use.
template<unsigned level, std::uint64_t permissions, Invept type>
void forbidden_after_invept() {
    if (!Window::possible() || !offered(type))
        return;
    Window window;
    auto& entry = window.ept_entry(level);
    const auto before = entry;
    for (const auto access : every_access) {
        entry = before;
        window.start(access, 3);
        if (!window.finish(Text{text_of(access), " while it is permitted"}))
            return;
        window.start(access, 3);
        entry = (before & ~ept_bit::all) | permissions;
        invalidate(type, window.ept.pointer());
        if (permits(permissions, access))
            window.finish(Text{text_of(access), " that is still permitted"});
        else
            window.expect_violation(permissions, Text{text_of(access), " after INVEPT"});
    }
}

// Reads at the window in this run.
std::uint64_t read_window(L2& guest, std::uint64_t linear, const Text& what) {
    std::uint64_t seen = 0;
    auto code = [&] { seen = word_at(linear); };
    guest.start(code);
    guest.run_to_end(what.c_str());
    return seen;
}

// The entry of this level leads elsewhere: to other tables, or to another page.
template<unsigned level, Invept type>
void remapped() {
    if (!Window::possible() || !offered(type))
        return;
    Window window;
    ExtendedPageTables other;
    const std::uint64_t page[2]{page_with(first_value), page_with(second_value)};
    window.ept_entry(1) = page[0] | ept_bit::leaf;
    other.entry(window.address(), 1) = page[1] | ept_bit::leaf;
    const std::uint64_t entry[2]{window.ept_entry(level), other.entry(window.address(), level)};
    for (unsigned round = 0; round < 6; ++round) {
        window.ept_entry(level) = entry[round % 2];
        invalidate(type, window.ept.pointer());
        const Text what{"what L2 reads in round ", round};
        expect_equal(read_window(window.guest, window.linear(), what),
                     round % 2 == 0 ? first_value : second_value, what);
    }
}

} // namespace

#define CHANGE(level)                                                                                        \
    VMX_CASE(change_none_##level, "vmx.ept.change_level" #level "_made_present",                             \
             "An entry made present after an EPT violation is in use without INVEPT",                        \
             "Operations that Invalidate Cached Mappings", (&permitted_without_invept<level, 0>),            \
             .needs = "ept")                                                                                 \
    VMX_CASE(change_r_##level, "vmx.ept.change_level" #level "_more_permitted",                              \
             "What an entry permits after an EPT violation needs no INVEPT",                                 \
             "Operations that Invalidate Cached Mappings",                                                   \
             (&permitted_without_invept<level, ept_bit::read>), .needs = "ept")                              \
    VMX_CASE(change_forbid_single_##level, "vmx.ept.change_level" #level "_read_only_single",                \
             "What an entry permits no more is refused after INVEPT of its context", "INVEPT",               \
             (&forbidden_after_invept<level, ept_bit::read, Invept::single_context>),                        \
             .needs = "ept,invept_single")                                                                   \
    VMX_CASE(change_forbid_all_##level, "vmx.ept.change_level" #level "_read_only_all",                      \
             "What an entry permits no more is refused after INVEPT of all contexts", "INVEPT",              \
             (&forbidden_after_invept<level, ept_bit::read, Invept::all_contexts>),                          \
             .needs = "ept,invept_all")                                                                      \
    VMX_CASE(change_gone_single_##level, "vmx.ept.change_level" #level "_gone_single",                       \
             "An entry that is not present any more is so after INVEPT of its context", "INVEPT",            \
             (&forbidden_after_invept<level, 0, Invept::single_context>), .needs = "ept,invept_single")      \
    VMX_CASE(change_gone_all_##level, "vmx.ept.change_level" #level "_gone_all",                             \
             "An entry that is not present any more is so after INVEPT of all contexts", "INVEPT",           \
             (&forbidden_after_invept<level, 0, Invept::all_contexts>), .needs = "ept,invept_all")           \
    VMX_CASE(change_remap_single_##level, "vmx.ept.change_level" #level "_remapped_single",                  \
             "An entry that leads elsewhere does so after INVEPT of its context", "INVEPT",                  \
             (&remapped<level, Invept::single_context>), .needs = "ept,invept_single")                       \
    VMX_CASE(change_remap_all_##level, "vmx.ept.change_level" #level "_remapped_all",                        \
             "An entry that leads elsewhere does so after INVEPT of all contexts", "INVEPT",                 \
             (&remapped<level, Invept::all_contexts>), .needs = "ept,invept_all")
CHANGE(1)
CHANGE(2)
CHANGE(3)
CHANGE(4)

VMX_TEST(change_split, "vmx.ept.change_page_size", "A large page becomes small ones and large again",
         "INVEPT", .needs = "ept,ept_2mb") {
    if (!Window::possible(PageSize::m2))
        return;
    Window window{PageSize::m2};
    const auto large = window.ept_entry(2);
    window.ept_entry(1) = page_with(second_value) | ept_bit::leaf; // splits
    const auto small = window.ept_entry(2);
    window.word() = first_value;
    for (unsigned round = 0; round < 6; ++round) {
        window.ept_entry(2) = round % 2 == 0 ? large : small;
        window.ept.invalidate();
        const Text what{"what L2 reads in round ", round};
        expect_equal(read_window(window.guest, window.linear() + window_data, what),
                     round % 2 == 0 ? first_value : second_value, what);
    }
}

namespace {

// Two EPTs that differ in the window alone.
struct Two {
    Window window;
    ExtendedPageTables other;
    std::uint64_t page[2]{page_with(first_value), page_with(second_value)};
    Two() {
        window.ept_entry(1) = page[0] | ept_bit::leaf;
        other.entry(window.address(), 1) = page[1] | ept_bit::leaf;
    }
    const ExtendedPageTables& ept(unsigned which) const { return which == 0 ? window.ept : other; }
    void expect_page(L2& guest, unsigned which, const Text& what) {
        expect_equal(read_window(guest, window.linear(), what), which == 0 ? first_value : second_value,
                     what);
    }
};

} // namespace

VMX_TEST(change_pointer, "vmx.ept.change_eptp", "L2 under one EPT pointer and another, without INVEPT",
         "Information That May Be Cached", .needs = "ept") {
    if (!Window::possible())
        return;
    Two two;
    for (unsigned round = 0; round < 12; ++round) {
        two.ept(round % 2).use_in(two.window.guest);
        two.expect_page(two.window.guest, round % 2, Text{"what L2 reads in round ", round});
    }
}
VMX_TEST(change_many_pointers, "vmx.ept.change_many_eptps",
         "L2 under 12 EPT pointers in turn, without INVEPT", "Information That May Be Cached",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    constexpr unsigned count = 12;
    std::uint64_t pointers[count];
    for (unsigned i = 0; i < count; ++i) {
        ExtendedPageTables ept;
        ept.entry(window.address(), 1) = page_with(first_value + i) | ept_bit::leaf;
        pointers[i] = ept.pointer();
    }
    for (unsigned round = 0; round < 3 * count; ++round) {
        const auto i = round * 5 % count;
        write(Field::ept_pointer, pointers[i]);
        const Text what{"what L2 reads with EPT pointer ", i};
        expect_equal(read_window(window.guest, window.linear(), what), first_value + i, what);
    }
}
VMX_TEST(change_two_guests, "vmx.ept.change_two_guests", "Two L2 with EPTs of their own, in turns",
         "Information That May Be Cached", .needs = "ept") {
    if (!Window::possible())
        return;
    Two two;
    L2 second;
    write(Field::guest_cr3, two.window.own.root());
    two.other.use_in(second);
    for (unsigned round = 0; round < 6; ++round) {
        two.window.guest.load();
        two.expect_page(two.window.guest, 0, Text{"the first in round ", round});
        second.load();
        two.expect_page(second, 1, Text{"the second in round ", round});
    }
}
VMX_TEST(change_shared, "vmx.ept.change_seen_by_both_guests",
         "An entry of an EPT that two L2 share changes for both after one INVEPT", "INVEPT",
         .needs = "ept,invept") {
    if (!Window::possible())
        return;
    Two two;
    L2 second;
    write(Field::guest_cr3, two.window.own.root());
    two.window.ept.use_in(second);
    for (unsigned round = 0; round < 6; ++round) {
        two.window.ept_entry(1) = two.page[round % 2] | ept_bit::leaf;
        two.window.ept.invalidate();
        two.window.guest.load();
        two.expect_page(two.window.guest, round % 2, Text{"the first in round ", round});
        second.load();
        two.expect_page(second, round % 2, Text{"the second in round ", round});
    }
}

// Mappings belong to bits 51:12 of the pointer: what INVEPT and violations invalidate, they do for all
// pointers with those bits.
VMX_TEST(change_same_root, "vmx.ept.change_invept_by_root",
         "INVEPT by a pointer with bit 6 the other way invalidates the same EPT's mappings", "INVEPT",
         .needs = "ept,ept_ad,invept_single") {
    if (!Window::possible() || !offered(Invept::single_context))
        return;
    Two two;
    auto& window = two.window;
    for (unsigned round = 0; round < 8; ++round) {
        for (unsigned flags = 0; flags < 2; ++flags) {
            window.ept.use_accessed_dirty(flags != 0);
            window.ept.use_in(window.guest);
            two.expect_page(window.guest, round % 2, Text{"round ", round, ", bit 6 is ", flags});
        }
        window.ept_entry(1) = two.page[1 - round % 2] | ept_bit::leaf;
        window.ept.use_accessed_dirty(round % 4 < 2);
        invalidate(Invept::single_context, window.ept.pointer());
    }
}
VMX_TEST(change_same_root_violation, "vmx.ept.change_violation_by_root",
         "An EPT violation invalidates the address for pointers with bit 6 the other way too",
         "Operations that Invalidate Cached Mappings", .needs = "ept,ept_ad") {
    if (!Window::possible())
        return;
    Two two;
    auto& window = two.window;
    const auto use = [&](bool flags) {
        window.ept.use_accessed_dirty(flags);
        window.ept.use_in(window.guest);
    };
    constexpr auto read_only = ept_bit::leaf & ~(ept_bit::write | ept_bit::execute);
    window.ept_entry(1) = two.page[0] | read_only;
    window.ept.invalidate();
    for (const bool flags : {false, true}) {
        use(flags);
        two.expect_page(window.guest, 0, Text{"with bit 6 as ", flags ? 1 : 0});
    }
    // With the second pointer: a write that is refused. Then the first.
    window.ept_entry(1) = two.page[1] | read_only;
    auto code = [&] { make_access(Touch::write, window.linear()); };
    window.guest.start(code);
    window.guest.run();
    expect_ept_violation(final_access(Touch::write) | as_allowed(ept_bit::read), window.address(),
                         window.linear(), "the write");
    use(false);
    two.expect_page(window.guest, 1, Text{"with the other pointer after the violation"});
}

VMX_TEST(change_by_l2, "vmx.ept.change_by_l2_itself",
         "An EPT entry that L2 writes, since L1 maps it there, is in force after INVEPT", "INVEPT",
         .needs = "ept,invept") {
    if (!Window::possible())
        return;
    Two two;
    auto& window = two.window;
    auto* const entry = &window.ept_entry(1);
    for (unsigned round = 0; round < 4; ++round) {
        two.expect_page(window.guest, round % 2, Text{"round ", round});
        const auto value = two.page[1 - round % 2] | ept_bit::leaf;
        auto code = [&] { *const_cast<volatile std::uint64_t*>(entry) = value; };
        window.guest.start(code);
        window.guest.run_to_end("L2 writes the entry");
        window.ept.invalidate();
    }
}
VMX_TEST(change_off, "vmx.ept.change_ept_off_and_on", "EPT off and on between runs: each is as L1 has it",
         "Information That May Be Cached", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    // An address that L1 maps to itself and EPT elsewhere.
    const auto address = page_with(first_value);
    window.ept.entry(address, 1) = page_with(second_value) | ept_bit::leaf;
    for (unsigned round = 0; round < 8; ++round) {
        if (round % 2 == 0)
            window.ept.use_in(window.guest);
        else
            stop_using_ept();
        const Text what{"what L2 reads in round ", round};
        expect_equal(read_window(window.guest, address, what), round % 2 == 0 ? second_value : first_value,
                     what);
    }
}
VMX_TEST(change_recycled, "vmx.ept.change_table_becomes_page",
         "A page that was a table of EPT is memory for L2 again", "INVEPT", .needs = "ept,invept") {
    if (!Window::possible())
        return;
    Two two;
    auto& window = two.window;
    two.expect_page(window.guest, 0, Text{"through the first table"});
    const auto table = page_of(conform::physical(&window.ept_entry(1)));
    window.ept_entry(2) = two.other.entry(window.address(), 2);
    window.ept.invalidate();
    two.expect_page(window.guest, 1, Text{"through another table"});
    std::uint64_t seen = 0;
    auto code = [&] {
        for (unsigned i = 0; i < 512; ++i)
            *reinterpret_cast<volatile std::uint64_t*>(table + 8 * i) = second_value + i;
        seen = word_at(table + 8 * 511);
    };
    window.guest.start(code);
    window.guest.run_to_end();
    expect_equal(seen, second_value + 511, "what L2 reads of what it wrote");
    expect_equal(word_at(table), second_value, "what L1 reads of it");
}

} // namespace nestbed::vmx
