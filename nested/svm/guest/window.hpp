// L2 under nested page tables with a page that nothing else of L2 touches, seen through entries at every
// level that nothing else uses: what is done to these entries does to that page alone.
#pragma once

#include <cstdint>

#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/l2.hpp"
#include "nested/svm/guest/npt.hpp"

namespace nestbed::svm {

enum class Access : unsigned { read, write, fetch };
inline constexpr Access every_access[]{Access::read, Access::write, Access::fetch};
inline constexpr unsigned every_ring[]{0, 3};
const char* text_of(Access access);

// What the page holds: a RET at its begin, for fetches, and this at `window_data`, for reads.
inline constexpr std::uint64_t window_data = 0x128;
inline constexpr std::uint64_t window_value = 0x77'6964'6f77'2121;
inline constexpr std::uint64_t written_value = 0x9e37'79b9'7f4a'7c15;

bool has_gib_pages();

class Window {
public:
    // L2's own page tables map [0, 4 GiB) to itself and, by a 4 KiB page, the window; the nested ones map the
    // same, the window by a page of size `leaf`. Everything is present, write and user.
    explicit Window(PageSize leaf = PageSize::k4);

    // Whether L2 can have such an address at all; where not, the test is not applicable and says so.
    static bool possible(PageSize leaf = PageSize::k4);

    L2 guest;
    NestedPageTables own;    // L2's, for CR3
    NestedPageTables nested; // L1's, for N_CR3

    [[nodiscard]] std::uint64_t address() const { return _address; } // L2's virtual and physical one
    [[nodiscard]] std::uint64_t page() const { return _page; }       // L1's physical one, identity-mapped
    [[nodiscard]] std::uint64_t& word() const {
        return *reinterpret_cast<std::uint64_t*>(_page + window_data);
    }
    [[nodiscard]] std::uint64_t& own_entry(unsigned level) { return own.entry(_address, level); }
    [[nodiscard]] std::uint64_t& nested_entry(unsigned level) { return nested.entry(_address, level); }

    // Where an access touches: window_data for data, the page's begin for fetches.
    [[nodiscard]] std::uint64_t target(Access access) const;

    // L2 begins anew with one access in ring 0 or 3. All its translations are flushed at its next entry.
    void start(Access access, unsigned ring);
    // Runs what was started to its end, and looks at what it has read or written.
    bool finish(const conform::Text& what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE());
    bool finish(const char* what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
        return finish(conform::Text{what}, file, line);
    }
    // Expects that it leaves by a nested page fault with this EXITINFO1 and EXITINFO2, at the instruction
    // that made the access.
    bool expect_fault(std::uint64_t info1, std::uint64_t info2, const conform::Text& what,
                      const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());
    bool expect_fault(std::uint64_t info1, std::uint64_t info2, const char* what,
                      const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
        return expect_fault(info1, info2, conform::Text{what}, file, line);
    }

private:
    struct Job {
        Access access;
        unsigned ring;
        std::uint64_t address;
        std::uint64_t seen;
    };
    static void run_job(void* job);

    std::uint64_t _page;
    std::uint64_t _address;
    Job _job{};
};

// EXITINFO1 of a fault on the way to the guest's final address: `why` is npf::present, with npf::reserved, or
// 0 where the nested page is not present. Every access of L2's is a user access at the nested level
// (15.25.5).
constexpr std::uint64_t final_fault(Access access, std::uint64_t why) {
    return npf::final | npf::user | why | (access == Access::write ? npf::write : 0) |
           (access == Access::fetch ? npf::fetch : 0);
}
// On the way to one of L2's page tables: always a user's data write, whatever L2 does (15.25.6).
constexpr std::uint64_t walk_fault(std::uint64_t why) {
    return npf::walk | npf::user | npf::write | why;
}

// Reads, writes or calls.
std::uint64_t make_access(Access access, std::uint64_t address);

// All translations of all ASIDs go at the next entry.
void flush_all(L2& guest);

// EXITCODE, EXITINFO1 and EXITINFO2 of the last exit.
bool expect_npf(L2& guest, std::uint64_t info1, std::uint64_t info2, const conform::Text& what,
                const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());
inline bool expect_npf(L2& guest, std::uint64_t info1, std::uint64_t info2, const char* what,
                       const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    return expect_npf(guest, info1, info2, conform::Text{what}, file, line);
}

} // namespace nestbed::svm
