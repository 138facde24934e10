// That L2 runs at all: what every other test stands on.
#include "nested/vmx/guest/case.hpp"

#include "core/guest/runtime.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

VMX_TEST(basic_long_mode, "vmx.basic.long_mode", "L2 runs 64-bit code and leaves by VMCALL", "VM Entries") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 0x1234'5678'9abc'def0; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x1234'5678'9abc'def0U, "what L2 wrote into L1's memory");
}

VMX_TEST(basic_resume, "vmx.basic.resume", "L2 goes on where it was after each of 100 exits", "VM Entries") {
    L2 guest;
    std::uint64_t count = 0;
    auto code = [&] {
        for (;;) {
            ++count;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (std::uint64_t i = 1; i <= 100; ++i) {
        if (!guest.run_to(ExitReason::cpuid, conform::Text{"round ", i}))
            return;
        if (!expect_equal(count, i, "what L2 has counted"))
            return;
        guest.skip();
    }
}

VMX_TEST(basic_two_guests, "vmx.basic.two_guests", "Two L2s run in turn, each with its own state",
         "Virtual-Machine Control Structures") {
    L2 first;
    L2 second;
    std::uint64_t counts[2]{};
    auto code_of_first = [&] {
        for (;;) {
            ++counts[0];
            guest::cpuid(0, 0);
        }
    };
    auto code_of_second = [&] {
        for (;;) {
            counts[1] += 3;
            guest::cpuid(0, 0);
        }
    };
    second.start(code_of_second);
    first.load();
    first.start(code_of_first);
    for (std::uint64_t i = 1; i <= 10; ++i) {
        first.load();
        if (!first.run_to(ExitReason::cpuid, "the first"))
            return;
        first.skip();
        second.load();
        if (!second.run_to(ExitReason::cpuid, "the second"))
            return;
        second.skip();
        expect_equal(counts[0], i, "what the first has counted");
        expect_equal(counts[1], 3 * i, "what the second has counted");
    }
}

VMX_TEST(basic_exception, "vmx.basic.exception", "An exception of L2 that L1 does not intercept is L2's own",
         "Exceptions and the exception bitmap") {
    L2 guest;
    auto code = [] {
        conform::l2_context().resume |= 1U << 3;
        asm volatile("int3");
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.context().exceptions[3], 1U, "#BP that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}

} // namespace nestbed::vmx
