// Page-modification logging (SDM volume 3, "Page-Modification Logging").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::physical;

namespace {

constexpr unsigned entries = 512;

bool offered() {
    if (allowed_secondary().may_set(secondary::enable_pml) && has_ept_accessed_dirty())
        return true;
    not_applicable("KVM does not offer PML");
    return false;
}

struct Logged {
    L2 guest;
    ExtendedPageTables ept;
    std::uint64_t* log = static_cast<std::uint64_t*>(conform::allocate_pages(1));

    explicit Logged(std::uint64_t index = entries - 1) {
        ept.use_accessed_dirty(true);
        ept.use_in(guest);
        write(Field::pml_address, physical(log));
        write(Field::pml_index, index);
        set(Field::secondary_controls, secondary::enable_pml);
    }
    // How often an address stands between the present index and `first`.
    [[nodiscard]] unsigned found(std::uint64_t address, unsigned first = entries - 1) const {
        unsigned count = 0;
        for (auto i = static_cast<std::uint16_t>(read(Field::pml_index) + 1); i <= first && i < entries; ++i)
            count += log[i] == address ? 1 : 0;
        return count;
    }
};

L2_SNIPPET(pml_write, "movq %rax, 0x18(%rbx)");
L2_SNIPPET(pml_read, "movq 0x18(%rbx), %rax");

std::uint64_t own_page(Logged& logged) {
    const auto page = physical(conform::allocate_pages(1));
    static_cast<void>(logged.ept.entry(page, 1)); // splits a larger page
    return page;
}

} // namespace

VMX_TEST(optional_pml_write, "vmx.optional.pml_write",
         "The first write to a page is logged with the address of the page, and its entry is dirty",
         "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = page;
    expect_executes(logged.guest, pml_write);
    expect(read(Field::pml_index) < entries - 1, "the PML index went down");
    expect_equal(logged.found(page), 1U, "times that the page is in the log");
    expect_equal(logged.ept.entry(page, 1) & ept_bit::dirty, ept_bit::dirty, "dirty flag");
    for (unsigned i = 0; i <= read(Field::pml_index); ++i)
        expect_equal(logged.log[i], 0U, "entries that are not yet used");
}
VMX_TEST(optional_pml_all, "vmx.optional.pml_log_complete",
         "Each logged address is of a page whose dirty flag is set, and aligned",
         "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = page;
    expect_executes(logged.guest, pml_write);
    for (auto i = read(Field::pml_index) + 1; i < entries; ++i) {
        expect_equal(logged.log[i] & 0xfff, 0U, "low bits of what was logged");
        expect_equal(logged.ept.leaf(logged.log[i]) & ept_bit::dirty, ept_bit::dirty,
                     "dirty flag of what was logged");
    }
}
VMX_TEST(optional_pml_read, "vmx.optional.pml_read", "A read is not logged", "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    place(logged.guest, pml_read);
    logged.guest.registers.rbx = page;
    expect_executes(logged.guest, pml_read);
    expect_equal(logged.found(page), 0U, "times that the page is in the log");
    expect_equal(logged.ept.entry(page, 1) & (ept_bit::dirty | ept_bit::accessed), ept_bit::accessed,
                 "accessed and dirty");
}
VMX_TEST(optional_pml_once, "vmx.optional.pml_once", "A page that is dirty already is not logged again",
         "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    std::uint64_t index = 0;
    for (unsigned round = 0; round < 3; ++round) {
        place(logged.guest, pml_write);
        logged.guest.registers.rbx = page;
        expect_executes(logged.guest, pml_write);
        if (round == 0)
            index = read(Field::pml_index);
        expect_equal(read(Field::pml_index), index, "PML index");
    }
    expect_equal(logged.found(page), 1U, "times that the page is in the log");
}
VMX_TEST(optional_pml_again, "vmx.optional.pml_again",
         "A page whose dirty flag L1 clears is logged again after INVEPT", "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    for (unsigned round = 1; round <= 3; ++round) {
        place(logged.guest, pml_write);
        logged.guest.registers.rbx = page;
        expect_executes(logged.guest, pml_write);
        expect_equal(logged.found(page), round, "times that the page is in the log");
        logged.ept.entry(page, 1) &= ~ept_bit::dirty;
        logged.ept.invalidate();
    }
}
VMX_TEST(optional_pml_off, "vmx.optional.pml_disabled", "Without the control nothing is logged, yet dirty",
         "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    clear(Field::secondary_controls, secondary::enable_pml);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = page;
    expect_executes(logged.guest, pml_write);
    expect_equal(read(Field::pml_index), entries - 1, "PML index");
    expect_equal(logged.log[entries - 1], 0U, "the last entry");
    expect_equal(logged.ept.entry(page, 1) & ept_bit::dirty, ept_bit::dirty, "dirty flag");
}
VMX_TEST(optional_pml_last, "vmx.optional.pml_last_entry",
         "The entry at index 0 is used, the index wraps to 0xffff, and the next page leaves by exit 62",
         "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    const auto page = own_page(logged);
    const auto other = own_page(logged);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = page;
    expect_executes(logged.guest, pml_write);
    // All that L2 uses beside the page is dirty by now.
    write(Field::pml_index, 0);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = other;
    expect_executes(logged.guest, pml_write);
    expect_equal(read(Field::pml_index), 0xffffU, "PML index");
    expect_equal(logged.log[0], other, "the first entry");
    const auto third = own_page(logged);
    logged.ept.invalidate();
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = third;
    const auto before = logged.log[1];
    if (!logged.guest.run_to(ExitReason::page_modification_log_full, "the log is full"))
        return;
    expect_equal(read(Field::guest_rip), pml_write.address(), "guest RIP");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
    expect_equal(read(Field::pml_index), 0xffffU, "PML index");
    expect_equal(logged.ept.entry(third, 1) & ept_bit::dirty, 0U, "dirty flag of what was not logged");
    expect_equal(guest::load(*guest::pointer_to<std::uint64_t>(third + 0x18)), 0U, "memory");
    expect_equal(logged.log[1], before, "another entry");
    write(Field::pml_index, entries - 1);
    expect_executes(logged.guest, pml_write);
    expect_equal(logged.log[entries - 1], third, "what is logged once there is room");
}
namespace {
template<std::uint64_t index>
void full_at_once() {
    if (!offered())
        return;
    Logged logged{index};
    const auto page = own_page(logged);
    place(logged.guest, pml_write);
    logged.guest.registers.rbx = page;
    logged.guest.run_to(ExitReason::page_modification_log_full, "the log is full");
    expect_equal(read(Field::pml_index), index, "PML index");
}
} // namespace
VMX_CASE(optional_pml_512, "vmx.optional.pml_index_512", "An index of 512 is a full log",
         "Page-Modification Logging", &full_at_once<512>);
VMX_CASE(optional_pml_ffff, "vmx.optional.pml_index_ffff", "An index of 0xffff is a full log",
         "Page-Modification Logging", &full_at_once<0xffff>);
VMX_CASE(optional_pml_8000, "vmx.optional.pml_index_8000", "An index of 0x8000 is a full log",
         "Page-Modification Logging", &full_at_once<0x8000>);
VMX_TEST(optional_pml_many, "vmx.optional.pml_many",
         "Each of 100 pages is logged once, in the order of writes", "Page-Modification Logging") {
    if (!offered())
        return;
    Logged logged;
    constexpr std::uint64_t count = 100;
    const auto first = physical(conform::allocate_pages(count));
    for (std::uint64_t i = 0; i < count; ++i)
        static_cast<void>(logged.ept.entry(first + 4096 * i, 1)); // splits a larger page
    auto code = [&] {
        for (std::uint64_t i = 0; i < count; ++i)
            guest::store(*guest::pointer_to<std::uint64_t>(first + 4096 * i), i);
    };
    logged.guest.start(code);
    logged.guest.run_to_end();
    std::uint64_t next = first;
    for (std::uint64_t i = entries; i-- > read(Field::pml_index) + 1;)
        if (logged.log[i] == next)
            next += 4096;
    expect_equal((next - first) / 4096, count, "pages found in the log, in order");
    for (std::uint64_t i = 0; i < count; ++i)
        expect_equal(logged.found(first + 4096 * i), 1U, "times that a page is in the log");
}

} // namespace nestbed::vmx
