// L2 under EPT with a page that nothing else of L2 touches, seen through entries at every level that nothing
// else uses: what is done to these entries does to that page alone.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

enum class Touch : unsigned { read, write, fetch };
inline constexpr Touch every_access[]{Touch::read, Touch::write, Touch::fetch};
inline constexpr unsigned every_ring[]{0, 3};
const char* text_of(Touch access);

// What the page holds: a RET at its begin, for fetches, and this at `window_data`, for reads.
inline constexpr std::uint64_t window_data = 0x128;
inline constexpr std::uint64_t window_value = 0x77'6964'6f77'2121;
inline constexpr std::uint64_t written_value = 0x9e37'79b9'7f4a'7c15;

class Window {
public:
    // L2's own paging structures map [0, 4 GiB) to itself and, by a 4 KiB page, the window; EPT maps the same
    // guest-physical addresses, the window by a page of size `leaf`. Everything is permitted.
    explicit Window(PageSize leaf = PageSize::k4);

    // Whether L2 can have such an address at all; where not, the test is not applicable and says so.
    static bool possible(PageSize leaf = PageSize::k4);

    L2 guest;
    LongModeTables own;     // L2's, for CR3
    ExtendedPageTables ept; // L1's

    // Three addresses of the same page, all different: L2's linear and physical one, L1's physical one.
    [[nodiscard]] std::uint64_t linear() const { return _linear; }
    [[nodiscard]] std::uint64_t address() const { return _address; }
    [[nodiscard]] std::uint64_t page() const { return _page; }
    [[nodiscard]] std::uint64_t& word() const {
        return *reinterpret_cast<std::uint64_t*>(_page + window_data);
    }
    [[nodiscard]] std::uint64_t& own_entry(unsigned level) { return own.entry(_linear, level); }
    [[nodiscard]] std::uint64_t& ept_entry(unsigned level) { return ept.entry(_address, level); }
    // The page of L2's paging structure that has own_entry(level).
    [[nodiscard]] std::uint64_t table_page(unsigned level);

    // From the page's begin to where an access touches: window_data for data, 0 for fetches.
    [[nodiscard]] static std::uint64_t offset(Touch access) {
        return access == Touch::fetch ? 0 : window_data;
    }

    // L2 begins anew with one access in ring 0 or 3. What the processor kept of EPT is invalidated.
    void start(Touch access, unsigned ring);
    // Runs what was started to its end, and looks at what it has read or written.
    bool finish(const conform::Text& what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE());
    bool finish(const char* what, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
        return finish(conform::Text{what}, file, line);
    }
    // Expects that it leaves by an EPT violation of the page itself, at the instruction that made the access:
    // `allowed` is what the EPT entries permit, of ept_bit::all. Or, with walk_violation(), of L2's paging
    // structure at `level`, for which `tried` is what the processor was at.
    bool expect_violation(std::uint64_t allowed, const conform::Text& what,
                          const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());
    bool expect_violation(std::uint64_t allowed, const char* what, const char* file = __builtin_FILE(),
                          std::uint32_t line = __builtin_LINE()) {
        return expect_violation(allowed, conform::Text{what}, file, line);
    }
    bool expect_walk_violation(unsigned level, std::uint64_t tried, std::uint64_t allowed,
                               const conform::Text& what, const char* file = __builtin_FILE(),
                               std::uint32_t line = __builtin_LINE());
    // By an EPT misconfiguration on the way to the page itself.
    bool expect_misconfiguration(const conform::Text& what, const char* file = __builtin_FILE(),
                                 std::uint32_t line = __builtin_LINE());

private:
    struct Job {
        Touch access;
        unsigned ring;
        std::uint64_t address;
        std::uint64_t seen;
    };
    static void run_job(void* job);
    bool expect_nothing_done(const conform::Text& what, const char* file, std::uint32_t line);

    std::uint64_t _page;
    std::uint64_t _address;
    std::uint64_t _linear;
    Job _job{};
};

// Reads, writes or calls.
std::uint64_t make_access(Touch access, std::uint64_t address);

// Bits 5:3 of the qualification for ept_bit::read, write and execute.
constexpr std::uint64_t as_allowed(std::uint64_t permissions) {
    return (permissions & ept_bit::all) << 3;
}
// Bits 2:0 for an access, and that it has a linear address whose translation it is.
constexpr std::uint64_t final_access(Touch access) {
    return ept_violation::linear_valid | ept_violation::final |
           (std::uint64_t{1} << static_cast<unsigned>(access));
}
constexpr bool permits(std::uint64_t permissions, Touch access) {
    return (permissions >> static_cast<unsigned>(access) & 1) != 0;
}

// The last exit is an EPT violation with this qualification, of its defined bits, and these two addresses. No
// event was being delivered.
bool expect_ept_violation(std::uint64_t qualification, std::uint64_t physical, std::uint64_t linear,
                          const conform::Text& what, const char* file = __builtin_FILE(),
                          std::uint32_t line = __builtin_LINE());
inline bool expect_ept_violation(std::uint64_t qualification, std::uint64_t physical, std::uint64_t linear,
                                 const char* what, const char* file = __builtin_FILE(),
                                 std::uint32_t line = __builtin_LINE()) {
    return expect_ept_violation(qualification, physical, linear, conform::Text{what}, file, line);
}

// 64-bit ring 0 again, wherever L2 was left; RIP and RSP are start()'s. For tests that run L2 many times.
void back_to_ring_0();

// A page of L1's whose 64-bit words all have this value.
std::uint64_t page_with(std::uint64_t value);
inline std::uint64_t word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}

} // namespace nestbed::vmx
