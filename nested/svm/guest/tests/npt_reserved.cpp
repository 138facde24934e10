// Bits of nested entries that must be zero, and those that mean nothing.
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::Hex;
using conform::Text;

namespace {

// Each bit from `first` to `last`, alone: an access of every kind faults with RSV; without the bit it goes
// through.
void reserved(PageSize leaf, unsigned level, unsigned first, unsigned last) {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    unsigned turn = 0;
    for (unsigned bit = first; bit <= last; ++bit) {
        const auto access = every_access[turn++ % 3];
        const Text what{text_of(access), " with bit ", bit, " set"};
        entry = before | std::uint64_t{1} << bit;
        window.start(access, 0);
        if (!window.expect_fault(final_fault(access, npf::present | npf::reserved), window.target(access),
                                 what))
            return;
        entry = before;
        flush_all(window.guest);
        if (!window.finish(Text{what, " and cleared again"}))
            return;
    }
}

template<PageSize leaf, unsigned level>
void reserved_high() {
    const auto width = physical_address_bits();
    if (width >= 52)
        return conform::not_applicable("no address bit is reserved (CPUID Fn8000_0008 EAX[7:0] is 52)");
    reserved(leaf, level, width, 51);
}

template<PageSize leaf, unsigned level, unsigned first, unsigned last>
void reserved_low() {
    reserved(leaf, level, first, last);
}

// Bits that the processor leaves to software: nothing faults, nothing is lost.
template<PageSize leaf, unsigned level>
void available() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    // 11:9 and 62:52: available to software (5.3.3 and 5.4.1). Bits 62:59 of the last level are a protection
    // key only with CR4.PKE.
    constexpr std::uint64_t ignored = 0x7ff0'0000'0000'0e00;
    entry = before | ignored;
    for (const auto access : every_access) {
        window.start(access, 0);
        if (!window.finish(text_of(access)))
            return;
    }
    expect_equal(entry & ignored, ignored, "the bits afterwards");
}

// The caching bits of a nested entry choose a memory type and change nothing that can be seen otherwise.
template<PageSize leaf, unsigned level, unsigned bit>
void caching() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    window.nested_entry(level) |= std::uint64_t{1} << bit;
    for (const auto access : every_access) {
        window.start(access, 3);
        if (!window.finish(text_of(access)))
            return;
    }
}

} // namespace

#define RESERVED_HIGH(leaf, leaf_name, level)                                                                \
    SVM_CASE(reserved_high_##leaf##_##level, "svm.npt.reserved_" leaf_name "_level" #level "_address",       \
             "Address bits above MAXPHYADDR in a nested entry fault with RSV", "15.25.6",                    \
             (&reserved_high<PageSize::leaf, level>), .needs = "npt")
RESERVED_HIGH(k4, "4k", 1)
RESERVED_HIGH(k4, "4k", 2)
RESERVED_HIGH(k4, "4k", 3)
RESERVED_HIGH(k4, "4k", 4)
RESERVED_HIGH(m2, "2m", 2)
RESERVED_HIGH(m2, "2m", 3)
RESERVED_HIGH(m2, "2m", 4)
RESERVED_HIGH(g1, "1g", 3)
RESERVED_HIGH(g1, "1g", 4)

#define RESERVED_LOW(leaf, level, first, last, name, title)                                                  \
    SVM_CASE(reserved_low_##leaf##_##level##_##first, "svm.npt.reserved_" name, title, "5.3.3",              \
             (&reserved_low<PageSize::leaf, level, first, last>), .needs = "npt")
RESERVED_LOW(k4, 4, 7, 7, "level4_page_size", "PS in a nested PML4 entry faults with RSV")
RESERVED_LOW(m2, 2, 13, 20, "2m_alignment", "Bits 20:13 of a nested 2 MiB entry fault with RSV")
RESERVED_LOW(g1, 3, 13, 29, "1g_alignment", "Bits 29:13 of a nested 1 GiB entry fault with RSV")

SVM_TEST(reserved_1g_unsupported, "svm.npt.reserved_1g_unsupported",
         "PS in a nested PDP entry faults with RSV where there are no 1 GiB pages", "15.25.6",
         .needs = "npt") {
    if (has_gib_pages())
        return conform::not_applicable("the vCPU has 1 GiB pages");
    reserved(PageSize::k4, 3, 7, 7);
}

SVM_TEST(reserved_not_present, "svm.npt.reserved_not_present",
         "Reserved bits of a nested entry that is not present are not looked at", "15.25.6", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    for (unsigned level = 1; level <= 4; ++level) {
        auto& entry = window.nested_entry(level);
        const auto before = entry;
        entry = 0x800f'ffff'ffff'fffe; // everything but P
        window.start(Access::read, 0);
        window.expect_fault(final_fault(Access::read, 0), window.target(Access::read), Text{"level ", level});
        entry = before;
    }
}

SVM_TEST(reserved_order, "svm.npt.reserved_above_not_present",
         "A reserved bit at a higher level is found before an entry below that is not present", "15.25.6",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) = 0;
    window.nested_entry(4) |= 1U << 7;
    window.start(Access::read, 0);
    window.expect_fault(final_fault(Access::read, npf::present | npf::reserved), window.target(Access::read),
                        "PS at level 4 over P=0 at level 1");
}

SVM_TEST(not_present_order, "svm.npt.reserved_below_not_present",
         "An entry that is not present hides reserved bits and permissions below it", "15.25.6",
         .needs = "npt") {
    if (!Window::possible(PageSize::m2))
        return;
    Window window{PageSize::m2};
    window.nested_entry(2) |= 1U << 13;
    window.nested_entry(3) &= ~npt_bit::present;
    window.start(Access::write, 0);
    window.expect_fault(final_fault(Access::write, 0), window.target(Access::write),
                        "P=0 at level 3 over bit 13 at level 2");
}

#define AVAILABLE(leaf, leaf_name, level)                                                                    \
    SVM_CASE(available_##leaf##_##level, "svm.npt.available_bits_" leaf_name "_level" #level,                \
             "Bits of a nested entry that are software's mean nothing", "5.3.3",                             \
             (&available<PageSize::leaf, level>), .needs = "npt")
AVAILABLE(k4, "4k", 1)
AVAILABLE(k4, "4k", 2)
AVAILABLE(k4, "4k", 3)
AVAILABLE(k4, "4k", 4)
AVAILABLE(m2, "2m", 2)
AVAILABLE(g1, "1g", 3)

#define CACHING(leaf, leaf_name, level, bit, name)                                                           \
    SVM_CASE(caching_##leaf##_##level##_##bit, "svm.npt.caching_" leaf_name "_level" #level "_" name,        \
             "A caching bit in a nested entry changes no content and no permission", "15.25.8",              \
             (&caching<PageSize::leaf, level, bit>), .needs = "npt")
CACHING(k4, "4k", 1, 3, "pwt")
CACHING(k4, "4k", 1, 4, "pcd")
CACHING(k4, "4k", 1, 7, "pat")
CACHING(k4, "4k", 4, 4, "pcd")
CACHING(m2, "2m", 2, 3, "pwt")
CACHING(m2, "2m", 2, 4, "pcd")
CACHING(m2, "2m", 2, 12, "pat")
CACHING(g1, "1g", 3, 12, "pat")

SVM_TEST(nested_global, "svm.npt.global_bit_ignored", "G in a nested entry means nothing", "15.25.5",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) |= 1U << 8;
    window.start(Access::read, 0);
    window.finish("with G");
    // A page that were global in the nested table would outlive this flush.
    window.nested_entry(1) = 0;
    window.start(Access::read, 0);
    window.expect_fault(final_fault(Access::read, 0), window.target(Access::read), "after a flush");
}

} // namespace nestbed::svm
