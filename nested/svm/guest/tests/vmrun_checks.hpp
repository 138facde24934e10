// Illegal guest states (APM volume 2, 15.5.1): how each is tried.
#pragma once

#include <cstdint>

#include "nested/guest/memory.hpp"
#include "nested/guest/text.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/guest/tests/refusal_retry.hpp"

namespace nestbed::svm {

// A guest that would run, count, and end.
class Candidate {
public:
    Candidate() {
        begin();
        keep();
    }
    Candidate(const Candidate&) = delete;
    Candidate& operator=(const Candidate&) = delete;

    // What it is now is what it is put back to.
    void keep() { conform::copy_page(&_good, &guest.vmcb()); }
    void put_right() {
        conform::copy_page(&guest.vmcb(), &_good);
        begin(); // its stack was used up by the run before
    }

    // VMRUN of the VMCB as it is now exits with VMEXIT_INVALID and runs nothing of L2. What L1 finds
    // afterwards has cases of its own, so that one mistake there does not hide which checks are missing.
    // `mask` is for those states that a nested hypervisor may leave to the processor below it: there too the
    // high half of EXITCODE is a matter by itself (svm.vmrun_checks.exit_code_*).
    bool expect_refused(const conform::Text& what, std::uint64_t mask = ~std::uint64_t{0},
                        const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
        const auto before = ran;
        guest.control().exit_code = 0;
        RefusalRetry retry{guest};
        do {
            ran = before;
            vmrun_refused(guest);
            stgi();
        } while (retry.again());
        return conform::expect_equal(guest.control().exit_code & mask,
                                     static_cast<std::uint64_t>(ExitCode::invalid) & mask,
                                     conform::Text{"EXITCODE with ", what}, file, line) &&
               conform::expect_equal(ran - before, 0U, conform::Text{"what L2 ran with ", what}, file, line);
    }
    bool expect_refused(const char* what, std::uint64_t mask = ~std::uint64_t{0},
                        const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
        return expect_refused(conform::Text{what}, mask, file, line);
    }

    // VMRUN of the VMCB as it is now runs L2 to its end; it is then as it was kept.
    bool expect_runs(const char* what, const char* file = __builtin_FILE(),
                     std::uint32_t line = __builtin_LINE()) {
        const auto before = ran;
        const bool ended = guest.run_to_end(what, file, line);
        const bool counted = conform::expect_equal(ran - before, 1U, what, file, line);
        put_right();
        return ended && counted;
    }

    L2 guest;
    std::uint64_t ran = 0;

private:
    void begin() {
        guest.start_at([](void* self) { ++static_cast<Candidate*>(self)->ran; }, this);
    }

    Vmcb& _good = conform::allocate<Vmcb>();
};

// `change(control, save)` makes an illegal state; the same VMCB without it runs.
template<typename Change>
void refused(const char* what, Change change, const char* file = __builtin_FILE(),
             std::uint32_t line = __builtin_LINE()) {
    Candidate candidate;
    change(candidate.guest.control(), candidate.guest.save());
    candidate.expect_refused(what, ~std::uint64_t{0}, file, line);
    candidate.put_right();
    candidate.expect_runs("the same VMCB put right runs", file, line);
}

// The same for each bit of [first, last]: change(control, save, 1 << bit).
template<typename Change>
void refused_bits(const char* field, unsigned first, unsigned last, Change change,
                  const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    Candidate candidate;
    for (unsigned bit = first; bit <= last; ++bit) {
        change(candidate.guest.control(), candidate.guest.save(), std::uint64_t{1} << bit);
        candidate.expect_refused(conform::Text{field, " bit ", bit}, ~std::uint64_t{0}, file, line);
        candidate.put_right();
    }
    candidate.expect_runs("the same VMCB put right runs", file, line);
}

// A legal state next to it: L2 runs.
template<typename Change>
void accepted(const char* what, Change change, const char* file = __builtin_FILE(),
              std::uint32_t line = __builtin_LINE()) {
    Candidate candidate;
    change(candidate.guest.control(), candidate.guest.save());
    candidate.expect_runs(what, file, line);
}

namespace cr0 {
inline constexpr std::uint64_t pe = 1U << 0, mp = 1U << 1, em = 1U << 2, ts = 1U << 3, et = 1U << 4,
                               ne = 1U << 5, wp = 1U << 16, am = 1U << 18, nw = 1U << 29, cd = 1U << 30,
                               pg = 1U << 31;
} // namespace cr0
namespace cr4 {
inline constexpr std::uint64_t vme = 1U << 0, pvi = 1U << 1, tsd = 1U << 2, de = 1U << 3, pse = 1U << 4,
                               pae = 1U << 5, mce = 1U << 6, pge = 1U << 7, pce = 1U << 8, osfxsr = 1U << 9,
                               osxmmexcpt = 1U << 10, umip = 1U << 11, la57 = 1U << 12, fsgsbase = 1U << 16,
                               pcide = 1U << 17, osxsave = 1U << 18, smep = 1U << 20, smap = 1U << 21,
                               pke = 1U << 22, cet = 1U << 23;
} // namespace cr4

// A refusal by field and one that is accepted, of which only the statement differs.
#define REFUSED(identifier, name, title, section, statement, ...)                                            \
    SVM_TEST(identifier, "svm.vmrun_checks." name, title, section, __VA_ARGS__) {                            \
        refused(title,                                                                                       \
                []([[maybe_unused]] ControlArea& control, [[maybe_unused]] SaveArea& save) { statement; });  \
    }
#define ACCEPTED(identifier, name, title, section, statement, ...)                                           \
    SVM_TEST(identifier, "svm.vmrun_checks." name, title, section, __VA_ARGS__) {                            \
        accepted(title,                                                                                      \
                 []([[maybe_unused]] ControlArea& control, [[maybe_unused]] SaveArea& save) { statement; }); \
    }
#define REFUSED_BITS(identifier, name, title, section, field, first, last, ...)                              \
    SVM_TEST(identifier, "svm.vmrun_checks." name, title, section, __VA_ARGS__) {                            \
        refused_bits(#field, first, last,                                                                    \
                     []([[maybe_unused]] ControlArea& control, [[maybe_unused]] SaveArea& save,              \
                        std::uint64_t bit) { field |= bit; });                                               \
    }

} // namespace nestbed::svm
