// VM functions: EPTP switching, and what leaves or faults instead (SDM volume 3, "VM Functions").
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
using conform::Text;

namespace {

constexpr std::uint32_t vmx_vmfunc = 0x491;

bool offered() {
    if (allowed_secondary().may_set(secondary::enable_vm_functions) && has_ept() &&
        (guest::rdmsr(vmx_vmfunc) & 1) != 0)
        return true;
    not_applicable("KVM does not offer EPTP switching");
    return false;
}

L2_SNIPPET(do_vmfunc, "vmfunc");
L2_SNIPPET_FROM(vmfunc_and_read, "vmfunc", "movq (%rbx), %rax");

// Two views: the page is itself in the first and another in the second.
struct Views {
    L2 guest;
    ExtendedPageTables first;
    ExtendedPageTables second;
    std::uint64_t* list = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    std::uint64_t page = physical(conform::allocate_pages(1));
    std::uint64_t other = physical(conform::allocate_pages(1));
    static constexpr std::uint64_t in_first = 0x1111, in_second = 0x2222;

    Views() {
        first.use_in(guest);
        static_cast<void>(first.entry(page, 1)); // splits a larger page
        second.entry(page, 1) += other - page;
        *guest::pointer_to<std::uint64_t>(page) = in_first;
        *guest::pointer_to<std::uint64_t>(other) = in_second;
        list[0] = first.pointer();
        list[1] = second.pointer();
        list[511] = second.pointer();
        write(Field::eptp_list_address, physical(list));
        write(Field::vm_function_controls, 1);
        set(Field::secondary_controls, secondary::enable_vm_functions);
    }
    void aim(const Snippet& snippet, std::uint64_t function, std::uint64_t index) {
        place(guest, snippet);
        guest.registers.rax = function;
        guest.registers.rcx = index;
        guest.registers.rbx = page;
    }
    void leaves(std::uint64_t function, std::uint64_t index, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
        const auto pointer = read(Field::ept_pointer);
        aim(do_vmfunc, function, index);
        expect_operand(guest, do_vmfunc, {ExitReason::vmfunc, 0, 0}, file, line);
        expect_equal(read(Field::ept_pointer), pointer, "EPT pointer, as it was", file, line);
    }
    void reads(std::uint64_t index, std::uint64_t value, const char* file = __builtin_FILE(),
               std::uint32_t line = __builtin_LINE()) {
        aim(vmfunc_and_read_from, 0, index);
        guest.run_to(ExitReason::vmcall, "VMFUNC runs", file, line);
        expect_equal(guest.registers.rax, value, "what L2 reads afterwards", file, line);
        expect_equal(read(Field::ept_pointer), list[index], "EPT pointer", file, line);
    }
};

} // namespace

VMX_TEST(optional_vmfunc_switch, "vmx.optional.vmfunc_eptp_switching",
         "VMFUNC of 0 switches to an entry of the EPTP list and stays in L2", "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    views.reads(1, Views::in_second);
    views.reads(0, Views::in_first);
}
VMX_TEST(optional_vmfunc_twice, "vmx.optional.vmfunc_back_and_forth",
         "L2 switches back and forth within one run and sees each view", "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    std::uint64_t seen[6]{};
    auto code = [&] {
        for (std::uint32_t i = 0; i < 6; ++i) {
            asm volatile("vmfunc" : : "a"(0), "c"(i % 2) : "memory");
            seen[i] = guest::load(*guest::pointer_to<std::uint64_t>(views.page));
        }
    };
    views.guest.start(code);
    views.guest.run_to_end();
    for (unsigned i = 0; i < 6; ++i)
        expect_equal(seen[i], i % 2 == 0 ? Views::in_first : Views::in_second, Text{"view ", i});
    expect_equal(read(Field::ept_pointer), views.list[1], "EPT pointer");
}
VMX_TEST(optional_vmfunc_kept, "vmx.optional.vmfunc_kept",
         "The EPT pointer that VMFUNC loaded is used by the next entry", "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    std::uint64_t seen = 0;
    auto code = [&] {
        asm volatile("vmfunc" : : "a"(0), "c"(1) : "memory");
        guest::cpuid(0, 0);
        seen = guest::load(*guest::pointer_to<std::uint64_t>(views.page));
    };
    views.guest.start(code);
    views.guest.run_to(ExitReason::cpuid, "CPUID");
    expect_equal(read(Field::ept_pointer), views.list[1], "EPT pointer");
    views.guest.skip();
    views.guest.run_to_end();
    expect_equal(seen, Views::in_second, "what L2 reads");
}
VMX_TEST(optional_vmfunc_same, "vmx.optional.vmfunc_same", "VMFUNC to the present EPT pointer runs",
         "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    views.reads(0, Views::in_first);
}
VMX_TEST(optional_vmfunc_last, "vmx.optional.vmfunc_last", "The EPTP list has 512 entries",
         "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    views.reads(511, Views::in_second);
}
VMX_TEST(optional_vmfunc_beyond, "vmx.optional.vmfunc_index_beyond",
         "VMFUNC of an index from 512 up leaves L2 and switches nothing", "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    for (const std::uint64_t index : {0x200U, 0x201U, 0x8000'0000U, 0xffff'ffffU})
        views.leaves(0, index);
}
VMX_TEST(optional_vmfunc_upper, "vmx.optional.vmfunc_upper_halves",
         "VMFUNC looks at EAX and ECX: the upper halves do not count", "VMFUNC") {
    if (!offered())
        return;
    Views views;
    views.aim(vmfunc_and_read_from, std::uint64_t{1} << 32, std::uint64_t{5} << 32 | 1);
    views.guest.run_to(ExitReason::vmcall, "VMFUNC runs");
    expect_equal(views.guest.registers.rax, Views::in_second, "what L2 reads afterwards");
}
VMX_TEST(optional_vmfunc_bad, "vmx.optional.vmfunc_bad_pointer",
         "VMFUNC to an EPTP that VM entry would refuse leaves L2", "EPTP Switching") {
    if (!offered())
        return;
    Views views;
    const auto good = views.list[1];
    const std::uint64_t bad[]{
        0,
        good ^ (7U & (good ^ 1)),                          // memory type 1
        (good & ~std::uint64_t{0x38}) | 1U << 3,           // two levels
        good | 1U << 8,                                    // reserved
        good | 1U << 11,                                   // reserved
        good | std::uint64_t{1} << physical_address_bits() // beyond the width
    };
    for (const auto value : bad) {
        views.list[1] = value;
        views.leaves(0, 1);
    }
}
VMX_TEST(optional_vmfunc_other, "vmx.optional.vmfunc_not_enabled",
         "VMFUNC of a function that is not enabled leaves L2",
         "General Operation of the VMFUNC Instruction") {
    if (!offered())
        return;
    Views views;
    for (const std::uint64_t function : {1U, 2U, 31U, 32U, 63U})
        views.leaves(function, 0);
    write(Field::vm_function_controls, 0);
    views.leaves(0, 0);
    views.leaves(0, 1);
}
VMX_TEST(optional_vmfunc_ud, "vmx.optional.vmfunc_ud",
         "VMFUNC is #UD of a function above 63 and without the control",
         "General Operation of the VMFUNC Instruction") {
    if (!offered())
        return;
    Views views;
    views.guest.intercept_exception(6);
    for (const std::uint64_t function : {64U, 65U, 0x100U, 0xffff'ffffU}) {
        views.aim(do_vmfunc, function, 0);
        expect_exception(views.guest, do_vmfunc, 6, 0);
    }
    clear(Field::secondary_controls, secondary::enable_vm_functions);
    for (const std::uint64_t function : {0U, 1U, 64U}) {
        views.aim(do_vmfunc, function, 0);
        expect_exception(views.guest, do_vmfunc, 6, 0);
    }
}
VMX_TEST(optional_vmfunc_ring_3, "vmx.optional.vmfunc_ring_3", "VMFUNC works in ring 3 as well",
         "General Operation of the VMFUNC Instruction") {
    if (!offered())
        return;
    Views views;
    views.aim(vmfunc_and_read_from, 0, 1);
    move_to_ring_3(views.guest);
    views.guest.run_to(ExitReason::vmcall, "VMFUNC runs");
    expect_equal(views.guest.registers.rax, Views::in_second, "what L2 reads afterwards");
}
VMX_TEST(optional_vmfunc_l1, "vmx.optional.vmfunc_in_root", "In VMX root operation VMFUNC is #UD",
         "General Operation of the VMFUNC Instruction") {
    L2 guest;
    bool seen = false;
    guest::set_exception_handler(6, [](guest::ExceptionFrame& frame) {
        frame.rbx = 1;
        frame.rip += 3;
        return true;
    });
    std::uint64_t rbx = 0;
    asm volatile("xorl %%eax, %%eax; xorl %%ecx, %%ecx; vmfunc" : "+b"(rbx) : : "rax", "rcx", "memory");
    guest::set_exception_handler(6, nullptr);
    seen = rbx == 1;
    expect(seen, "#UD");
}

} // namespace nestbed::vmx
