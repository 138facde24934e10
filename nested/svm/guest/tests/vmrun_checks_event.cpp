// VMRUN's checks of EVENTINJ (APM volume 2, 15.20).
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/tests/vmrun_checks.hpp"

namespace nestbed::svm {

using conform::expect_equal;

namespace {

constexpr std::uint64_t low_half = 0xffff'ffff;

void event_refused(std::uint64_t injected, const char* title) {
    Candidate candidate;
    candidate.guest.context().resume = ~std::uint32_t{0}; // what gets through is counted, not fatal
    candidate.guest.control().event_inj = injected;
    candidate.expect_refused(title, low_half);
    expect_equal(candidate.guest.context().delivered, 0U, "events that L2 saw");
    candidate.put_right();
    candidate.expect_runs("the same VMCB put right runs");
    expect_equal(candidate.guest.context().delivered, 0U, "events that L2 saw afterwards");
}
template<std::uint64_t Event>
void event_refused_case() {
    event_refused(Event, "this EVENTINJ");
}
template<std::uint64_t Event>
void event_ignored_case() {
    Candidate candidate;
    candidate.guest.control().event_inj = Event;
    candidate.expect_runs("L2 runs");
    expect_equal(candidate.guest.context().delivered, 0U, "events that L2 saw");
}
template<std::uint64_t Event, std::uint8_t Vector>
void event_delivered_case() {
    Candidate candidate;
    candidate.guest.context().resume = ~std::uint32_t{0};
    candidate.guest.control().event_inj = Event;
    candidate.expect_runs("L2 runs");
    expect_equal(candidate.guest.context().delivered, 1U, "events that L2 saw");
    expect_equal(candidate.guest.context().order[0], Vector, "its vector");
}

constexpr std::uint64_t typed(unsigned type, std::uint8_t vector) {
    return event_valid | std::uint64_t{type} << 8 | vector;
}

} // namespace

#define EVENT_REFUSED(identifier, name, title, event)                                                        \
    SVM_CASE(identifier, "svm.vmrun_checks.event_" name, title, "15.20", &event_refused_case<(event)>, )
#define EVENT_IGNORED(identifier, name, title, event)                                                        \
    SVM_CASE(identifier, "svm.vmrun_checks.event_" name, title, "15.20", &event_ignored_case<(event)>, )
#define EVENT_DELIVERED(identifier, name, title, event, vector)                                              \
    SVM_CASE(identifier, "svm.vmrun_checks.event_" name, title, "15.20",                                     \
             (&event_delivered_case<(event), vector>), )

#define TYPE_REFUSED(type)                                                                                   \
    EVENT_REFUSED(event_type_##type, "type_" #type, "EVENTINJ of the reserved type " #type " is refused",    \
                  typed(type, 0x41))                                                                         \
    EVENT_REFUSED(event_type_##type##_exception, "type_" #type "_vector_13",                                 \
                  "EVENTINJ of the reserved type " #type " is refused with an exception's vector",           \
                  typed(type, 13))                                                                           \
    EVENT_REFUSED(event_type_##type##_error, "type_" #type "_error_code",                                    \
                  "EVENTINJ of the reserved type " #type " is refused with an error code",                   \
                  typed(type, 14) | event_has_error_code | std::uint64_t{7} << 32)
TYPE_REFUSED(1)
TYPE_REFUSED(5)
TYPE_REFUSED(6)
TYPE_REFUSED(7)

// Vectors that are no exception's: 2 is the NMI's, 15, 20, 22 to 27 and 31 are reserved (8.2), and those from
// 32 up are interrupts'. 9 is an exception's of old processors, and left out.
#define VECTOR_REFUSED(vector)                                                                               \
    EVENT_REFUSED(event_vector_##vector, "exception_vector_" #vector,                                        \
                  "EVENTINJ of an exception with vector " #vector " is refused", typed(3, vector))
VECTOR_REFUSED(2)
VECTOR_REFUSED(15)
VECTOR_REFUSED(20)
VECTOR_REFUSED(22)
VECTOR_REFUSED(23)
VECTOR_REFUSED(24)
VECTOR_REFUSED(25)
VECTOR_REFUSED(26)
VECTOR_REFUSED(27)
VECTOR_REFUSED(31)
VECTOR_REFUSED(32)
VECTOR_REFUSED(33)
VECTOR_REFUSED(64)
VECTOR_REFUSED(128)
VECTOR_REFUSED(254)
VECTOR_REFUSED(255)
EVENT_REFUSED(event_vector_2_error, "exception_vector_2_error_code",
              "EVENTINJ of an exception with vector 2 is refused with an error code",
              typed(3, 2) | event_has_error_code | std::uint64_t{1} << 32)
EVENT_REFUSED(event_vector_40_error, "exception_vector_40_error_code",
              "EVENTINJ of an exception with vector 40 is refused with an error code",
              typed(3, 40) | event_has_error_code | std::uint64_t{1} << 32)
SVM_TEST(event_vectors_all, "svm.vmrun_checks.event_exception_vectors_above_31",
         "EVENTINJ of an exception with each vector from 32 up is refused", "15.20") {
    Candidate candidate;
    for (unsigned vector = 32; vector < 256; ++vector) {
        candidate.guest.control().event_inj = typed(3, static_cast<std::uint8_t>(vector));
        candidate.expect_refused(conform::Text{"vector ", vector}, low_half);
        candidate.put_right();
    }
    candidate.expect_runs("the same VMCB put right runs");
}
// 15.20's own example of an event that is impossible for the guest's mode.
EVENT_REFUSED(event_bound, "exception_bound_in_64_bit_mode", "EVENTINJ of #BR is refused in 64-bit mode",
              typed(3, 5))
EVENT_REFUSED(event_overflow, "exception_overflow_in_64_bit_mode",
              "EVENTINJ of #OF is refused in 64-bit mode", typed(3, 4))

// V = 0 makes the rest void.
EVENT_IGNORED(event_invalid_nothing, "not_valid_zero", "EVENTINJ = 0 injects nothing", 0)
EVENT_IGNORED(event_invalid_type_1, "not_valid_type_1", "EVENTINJ of type 1 with V = 0 is ignored",
              typed(1, 0x41) & ~event_valid)
EVENT_IGNORED(event_invalid_type_7, "not_valid_type_7", "EVENTINJ of type 7 with V = 0 is ignored",
              typed(7, 0xff) & ~event_valid)
EVENT_IGNORED(event_invalid_exception_2, "not_valid_exception_2",
              "EVENTINJ of exception vector 2 with V = 0 is ignored", typed(3, 2) & ~event_valid)
EVENT_IGNORED(event_invalid_ones, "not_valid_ones", "EVENTINJ of all ones but V is ignored",
              ~std::uint64_t{0} & ~event_valid)

// Legal neighbours.
EVENT_DELIVERED(event_interrupt_32, "interrupt_32", "EVENTINJ of interrupt 32 is accepted", typed(0, 32), 32)
EVENT_DELIVERED(event_interrupt_255, "interrupt_255", "EVENTINJ of interrupt 255 is accepted", typed(0, 255),
                255)
EVENT_DELIVERED(event_nmi, "nmi", "EVENTINJ of an NMI is accepted", typed(2, 2), 2)
EVENT_DELIVERED(event_nmi_vector, "nmi_with_another_vector", "EVENTINJ of an NMI ignores its vector",
                typed(2, 0x51), 2)
EVENT_DELIVERED(event_exception_0, "exception_0", "EVENTINJ of #DE is accepted", typed(3, 0), 0)
EVENT_DELIVERED(event_exception_1, "exception_1", "EVENTINJ of #DB is accepted", typed(3, 1), 1)
EVENT_DELIVERED(event_exception_6, "exception_6", "EVENTINJ of #UD is accepted", typed(3, 6), 6)
EVENT_DELIVERED(event_exception_13, "exception_13", "EVENTINJ of #GP is accepted",
                typed(3, 13) | event_has_error_code, 13)
EVENT_DELIVERED(event_exception_14, "exception_14", "EVENTINJ of #PF is accepted",
                typed(3, 14) | event_has_error_code | std::uint64_t{2} << 32, 14)
EVENT_DELIVERED(event_exception_16, "exception_16", "EVENTINJ of #MF is accepted", typed(3, 16), 16)
EVENT_DELIVERED(event_exception_17, "exception_17", "EVENTINJ of #AC is accepted",
                typed(3, 17) | event_has_error_code, 17)
EVENT_DELIVERED(event_exception_19, "exception_19", "EVENTINJ of #XF is accepted", typed(3, 19), 19)
// Bits 30:12 are reserved, SBZ: not MBZ.
EVENT_DELIVERED(event_reserved_bits, "reserved_bits", "EVENTINJ bits 30:12 are no reason to refuse",
                typed(0, 0x61) | 0x7fff'f000, 0x61)

} // namespace nestbed::svm
