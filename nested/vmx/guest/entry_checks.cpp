#include "nested/vmx/guest/entry_checks.hpp"

#include "core/guest/runtime.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

// False where the test turned out not to apply.
template<typename Judge>
void try_entry(Change change, Judge judge) {
    L2 guest;
    auto code = [] {
        for (;;)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    if (!guest.run_to(ExitReason::cpuid, "L2 runs before the change"))
        return;
    guest.skip();
    change(guest);
    if (conform::report().not_applicable[0] != '\0')
        return;
    judge(guest);
}

void fails_valid(L2& guest, InstructionError error) {
    const auto entry = guest.try_run();
    if (expect_equal(entry.outcome, Outcome::fail_valid, "VMRESUME fails with a current VMCS"))
        expect_equal(entry.error, static_cast<std::uint32_t>(error), "VM-instruction error");
}

} // namespace

void fails_as_control(Change change) {
    try_entry(change, [](L2& guest) { fails_valid(guest, InstructionError::entry_invalid_control); });
}

void fails_as_host(Change change) {
    try_entry(change, [](L2& guest) { fails_valid(guest, InstructionError::entry_invalid_host_state); });
}

void fails_as_guest(Change change, std::uint64_t qualification) {
    try_entry(change, [qualification](L2& guest) {
        const auto entry = guest.try_run();
        if (!expect_equal(entry.outcome, Outcome::succeed, "VMRESUME gets as far as the guest's state"))
            return;
        expect_equal(entry.reason,
                     1U << 31 | static_cast<std::uint32_t>(ExitReason::entry_failure_guest_state),
                     "exit reason");
        expect_equal(read(Field::exit_qualification), qualification, "exit qualification");
    });
}

void still_enters(Change change) {
    try_entry(change, [](L2& guest) {
        const auto entry = guest.try_run();
        expect_equal(entry.outcome, Outcome::succeed, "VMRESUME succeeds");
        expect_equal(entry.reason, static_cast<std::uint32_t>(ExitReason::cpuid), "exit reason");
    });
}

bool want(Field field, Allowed allowed, std::uint32_t bits, const char* otherwise) {
    if (!allowed.may_set(bits)) {
        conform::not_applicable(otherwise);
        return false;
    }
    set(field, bits);
    return true;
}

} // namespace nestbed::vmx
