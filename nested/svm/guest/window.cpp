#include "nested/svm/guest/window.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::Text;

namespace {

using namespace npt_bit;

// The second entry of the highest level: L2's own code and data are all under the first.
constexpr std::uint64_t window_base = std::uint64_t{1} << 39;
constexpr unsigned address_bits_needed = 40;
constexpr std::uint64_t all = present | write | user;

std::uint64_t new_page() {
    const auto page = conform::physical(conform::allocate_pages(1));
    *guest::pointer_to<std::uint8_t>(page) = 0xc3; // RET
    *guest::pointer_to<std::uint64_t>(page + window_data) = window_value;
    return page;
}

} // namespace

const char* text_of(Access access) {
    switch (access) {
    case Access::read:
        return "read";
    case Access::write:
        return "write";
    default:
        return "fetch";
    }
}

bool has_gib_pages() {
    return (guest::cpuid(0x8000'0001, 0).edx >> 26 & 1) != 0;
}

Window::Window(PageSize leaf) : _page{new_page()}, _address{window_base + _page} {
    const auto level = static_cast<unsigned>(leaf);
    const auto mask = (std::uint64_t{1} << (12 + 9 * (level - 1))) - 1;
    own_entry(1) = _address | all;
    nested_entry(level) = (_page & ~mask) | all | (level > 1 ? large : 0);
    guest.save().cr3 = own.root();
    nested.use_in(guest);
}

bool Window::possible(PageSize leaf) {
    if (physical_address_bits() < address_bits_needed) {
        conform::not_applicable("the vCPU has fewer than 40 physical address bits");
        return false;
    }
    if (leaf == PageSize::g1 && !has_gib_pages()) {
        conform::not_applicable("the vCPU has no 1 GiB pages (CPUID Fn8000_0001 EDX bit 26)");
        return false;
    }
    return true;
}

std::uint64_t Window::target(Access access) const {
    return access == Access::fetch ? _address : _address + window_data;
}

void Window::start(Access access, unsigned ring) {
    _job = {access, ring, target(access), 0};
    word() = window_value;
    // The last run may have been left anywhere, in ring 3 too.
    const auto data = guest.save().ds;
    guest.save().cs = {nestbed::wire::kernel_code_selector, 0xa9b, 0xffff'ffff, 0};
    guest.save().ss = data;
    guest.save().cpl = 0;
    guest.save().rflags = 2;
    guest.start_at(&Window::run_job, &_job);
    flush_all(guest);
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
    case Access::read:
        return expect_equal(_job.seen, window_value, Text{what, ": what L2 read"}, file, line);
    case Access::write:
        return expect_equal(word(), written_value, Text{what, ": what L1 finds written"}, file, line);
    default:
        return expect_equal(_job.seen, 1, Text{what, ": L2 came back from the call"}, file, line);
    }
}

bool Window::expect_fault(std::uint64_t info1, std::uint64_t info2, const Text& what, const char* file,
                          std::uint32_t line) {
    guest.run();
    bool met = expect_npf(guest, info1, info2, what, file, line);
    if (_job.access == Access::fetch)
        met = expect_equal(guest.save().rip, _job.address, Text{what, ": RIP"}, file, line) && met;
    if (_job.access == Access::write)
        met = expect_equal(word(), window_value, Text{what, ": memory before the access is let through"},
                           file, line) &&
              met;
    return met;
}

std::uint64_t make_access(Access access, std::uint64_t address) {
    std::uint64_t seen = 0;
    switch (access) {
    case Access::read:
        asm volatile("movq (%1), %0" : "=r"(seen) : "r"(address) : "memory");
        return seen;
    case Access::write:
        asm volatile("movq %0, (%1)" : : "r"(written_value), "r"(address) : "memory");
        return written_value;
    default:
        asm volatile("call *%0" : : "r"(address) : "memory");
        return 1;
    }
}

void flush_all(L2& guest) {
    guest.control().tlb_control = tlb_control::flush_all;
}

bool expect_npf(L2& guest, std::uint64_t info1, std::uint64_t info2, const Text& what, const char* file,
                std::uint32_t line) {
    const auto& control = guest.control();
    return expect_equal(control.exit_code, ExitCode::npf, Text{what, ": EXITCODE"}, file, line) &&
           expect_equal(control.exit_info_1, info1, Text{what, ": EXITINFO1"}, file, line) &&
           expect_equal(control.exit_info_2, info2, Text{what, ": EXITINFO2"}, file, line);
}

} // namespace nestbed::svm
