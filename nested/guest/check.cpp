#include "nested/guest/check.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"

namespace nestbed::conform {

namespace {

void copy_text(char* to, std::size_t room, const char* from) {
    std::size_t i = 0;
    for (; i + 1 < room && from[i] != '\0'; ++i)
        to[i] = from[i];
    to[i] = '\0';
}

// Of the function that called the check, near enough to find the place.
nested::wire::Registers registers_now(std::uint64_t rip) {
    nested::wire::Registers registers{};
    registers.rip = rip;
    asm volatile("movq %%rsp, %0" : "=r"(registers.rsp));
    asm volatile("pushfq; popq %0" : "=r"(registers.rflags));
    registers.cr0 = guest::control_register<0>();
    registers.cr2 = guest::control_register<2>();
    registers.cr3 = guest::control_register<3>();
    registers.cr4 = guest::control_register<4>();
    registers.efer = guest::rdmsr(0xc000'0080);
    return registers;
}

} // namespace

void (*keep_control_structure)(nested::wire::Report& report);

nested::wire::Report& report() {
    return guest::pointer_to<nested::wire::Report>(
        guest::job_argument(nested::wire::reports))[guest::this_vcpu().vcpu];
}

void detail::failed(const char* what, std::uint64_t expected, std::uint64_t seen, bool has_values,
                    Place place) {
    auto& mine = report();
    const auto index = mine.failures++;
    if (mine.frozen == 0) {
        mine.l1 = registers_now(reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
        mine.frozen = 1;
        if (keep_control_structure != nullptr)
            keep_control_structure(mine);
    }
    if (index >= nested::wire::most_failures)
        return;
    auto& failure = mine.failure[index];
    failure.expected = expected;
    failure.seen = seen;
    failure.has_values = has_values ? 1 : 0;
    failure.line = place.line;
    copy_text(failure.text, sizeof failure.text, what);
    copy_text(failure.file, sizeof failure.file, place.file);
}

void not_applicable(const char* why) {
    copy_text(report().not_applicable, nested::wire::text_bytes, why);
}

} // namespace nestbed::conform
