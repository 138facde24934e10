#include "nested/vmx/guest/window.hpp"

#include <utility>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

// The second entry of the highest level of EPT, and the fourth of L2's own: L2's code and data are all under
// the first.
constexpr std::uint64_t window_base = std::uint64_t{1} << 39;
constexpr std::uint64_t window_linear = std::uint64_t{3} << 39;
constexpr unsigned address_bits_needed = 40;

std::uint64_t new_page() {
    const auto page = conform::physical(conform::allocate_pages(1));
    *guest::pointer_to<std::uint8_t>(page) = 0xc3; // RET
    *guest::pointer_to<std::uint64_t>(page + window_data) = window_value;
    return page;
}

} // namespace

const char* text_of(Touch access) {
    switch (access) {
    case Touch::read:
        return "read";
    case Touch::write:
        return "write";
    default:
        return "fetch";
    }
}

Window::Window(PageSize leaf)
    : _page{new_page()}, _address{window_base + _page}, _linear{window_linear + _page} {
    const auto level = static_cast<unsigned>(leaf);
    const auto mask = (std::uint64_t{1} << (12 + 9 * (level - 1))) - 1;
    own_entry(1) = _address | page_bit::all;
    ept_entry(level) = (_page & ~mask) | ept_bit::leaf | (level > 1 ? ept_bit::large : 0);
    write(Field::guest_cr3, own.root());
    ept.use_in(guest);
}

bool Window::possible(PageSize leaf) {
    if (physical_address_bits() < address_bits_needed) {
        conform::not_applicable("the vCPU has fewer than 40 physical address bits");
        return false;
    }
    if (!has_page_size(leaf)) {
        conform::not_applicable("EPT has no pages of this size (IA32_VMX_EPT_VPID_CAP)");
        return false;
    }
    return true;
}

std::uint64_t Window::table_page(unsigned level) {
    return page_of(conform::physical(&own_entry(level)));
}

void Window::start(Touch access, unsigned ring) {
    _job = {access, ring, _linear + offset(access), 0};
    word() = window_value;
    back_to_ring_0();
    guest.start_at(&Window::run_job, &_job);
    ept.invalidate();
}

void Window::run_job(void* argument) {
    auto& job = *static_cast<Job*>(argument);
    if (job.ring == 0) {
        job.seen = make_access(job.access, job.address);
        return;
    }
    conform::in_ring_3([&] { job.seen = make_access(job.access, job.address); });
}

bool Window::finish(const Text& what, const char* file, std::uint32_t line) {
    if (!guest.run_to_end(what.c_str(), file, line))
        return false;
    switch (_job.access) {
    case Touch::read:
        return expect_equal(_job.seen, window_value, Text{what, ": what L2 read"}, file, line);
    case Touch::write:
        return expect_equal(word(), written_value, Text{what, ": what L1 finds written"}, file, line);
    default:
        return expect_equal(_job.seen, 1, Text{what, ": L2 came back from the call"}, file, line);
    }
}

bool Window::expect_nothing_done(const Text& what, const char* file, std::uint32_t line) {
    bool met = true;
    if (_job.access == Touch::fetch)
        met = expect_equal(read(Field::guest_rip), _job.address, Text{what, ": RIP"}, file, line);
    if (_job.access == Touch::write)
        met = expect_equal(word(), window_value, Text{what, ": memory before the access is let through"},
                           file, line);
    return met;
}

bool Window::expect_violation(std::uint64_t allowed, const Text& what, const char* file, std::uint32_t line) {
    guest.run();
    return expect_ept_violation(final_access(_job.access) | as_allowed(allowed),
                                _address + offset(_job.access), _job.address, what, file, line) &&
           expect_nothing_done(what, file, line);
}

bool Window::expect_walk_violation(unsigned level, std::uint64_t tried, std::uint64_t allowed,
                                   const Text& what, const char* file, std::uint32_t line) {
    guest.run();
    return expect_ept_violation(ept_violation::linear_valid | tried | as_allowed(allowed),
                                conform::physical(&own_entry(level)), _job.address, what, file, line) &&
           expect_nothing_done(what, file, line);
}

bool Window::expect_misconfiguration(const Text& what, const char* file, std::uint32_t line) {
    return guest.run_to(ExitReason::ept_misconfiguration, what, file, line) &&
           expect_equal(read(Field::guest_physical_address), _address + offset(_job.access),
                        Text{what, ": guest-physical address"}, file, line) &&
           expect_nothing_done(what, file, line);
}

std::uint64_t make_access(Touch access, std::uint64_t address) {
    std::uint64_t seen = 0;
    switch (access) {
    case Touch::read:
        asm volatile("movq (%1), %0" : "=r"(seen) : "r"(address) : "memory");
        return seen;
    case Touch::write:
        asm volatile("movq %0, (%1)" : : "r"(written_value), "r"(address) : "memory");
        return written_value;
    default:
        asm volatile("call *%0" : : "r"(address) : "memory");
        return 1;
    }
}

bool expect_ept_violation(std::uint64_t qualification, std::uint64_t physical, std::uint64_t linear,
                          const Text& what, const char* file, std::uint32_t line) {
    return expect_equal(read(Field::exit_reason), ExitReason::ept_violation, Text{what, ": exit reason"},
                        file, line) &&
           expect_equal(read(Field::exit_qualification) & ept_violation::defined, qualification,
                        Text{what, ": exit qualification"}, file, line) &&
           expect_equal(read(Field::guest_physical_address), physical, Text{what, ": guest-physical address"},
                        file, line) &&
           expect_equal(read(Field::guest_linear_address), linear, Text{what, ": guest-linear address"}, file,
                        line) &&
           expect_equal(read(Field::idt_vectoring_information) >> 31, 0U,
                        Text{what, ": IDT-vectoring information, valid"}, file, line) &&
           expect_equal(read(Field::exit_interruption_information) >> 31, 0U,
                        Text{what, ": VM-exit interruption information, valid"}, file, line);
}

void back_to_ring_0() {
    constexpr std::uint32_t code64 = 0xa09b;
    constexpr std::uint32_t data = 0xc093;
    write(Field::guest_rflags, 2);
    if ((read(Field::guest_cs_selector) & 3) == 0)
        return;
    write(Field::guest_cs_selector, nestbed::wire::kernel_code_selector);
    write(Field::guest_cs_access_rights, code64);
    for (const auto& [selector, rights] : {std::pair{Field::guest_ss_selector, Field::guest_ss_access_rights},
                                           {Field::guest_ds_selector, Field::guest_ds_access_rights},
                                           {Field::guest_es_selector, Field::guest_es_access_rights}}) {
        write(selector, nestbed::wire::kernel_data_selector);
        write(rights, data);
    }
}

std::uint64_t page_with(std::uint64_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 8)
        *guest::pointer_to<std::uint64_t>(page + at) = value;
    return page;
}

} // namespace nestbed::vmx
