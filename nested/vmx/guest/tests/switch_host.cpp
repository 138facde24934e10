// What L1 finds after a VM exit: the host-state area, and what the manual fixes (SDM volume 3, "Loading Host
// State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

#define CONTROL "Loading Host Control Registers, Debug Registers, MSRs"
#define SEGMENTS "Loading Host Segment and Descriptor-Table Registers"

struct [[gnu::packed]] Table {
    std::uint16_t limit;
    std::uint64_t base;
};

// Right after the exit, before anything else: RFLAGS and RSP, then on to vmx_exit_return.
extern "C" std::uint64_t vmx_host_rflags;
extern "C" std::uint64_t vmx_host_rsp;
extern "C" std::uint64_t vmx_host_back; // RSP for vmx_exit_return, or 0: as it is
extern "C" const char vmx_host_probe[];
asm(".pushsection .bss\n.balign 8\n"
    ".globl vmx_host_rflags\nvmx_host_rflags: .skip 8\n"
    ".globl vmx_host_rsp\nvmx_host_rsp: .skip 8\n"
    ".globl vmx_host_back\nvmx_host_back: .skip 8\n"
    ".popsection\n.pushsection .text\n.balign 16\n"
    ".globl vmx_host_probe\nvmx_host_probe:\n"
    "pushfq\npopq vmx_host_rflags(%rip)\n"
    "movq %rsp, vmx_host_rsp(%rip)\n"
    "cmpq $0, vmx_host_back(%rip)\nje 1f\n"
    "movq vmx_host_back(%rip), %rsp\n1: jmp vmx_exit_return\n.popsection");

L2_CODE(l2_vh_vmcall, 64, "vmcall");

// How L2 leaves: by an exit, or by an entry that fails late. Both load the host state.
enum class Leave { exit, failed_entry };
constexpr Leave every_leave[]{Leave::exit, Leave::failed_entry};

bool leave(L2& guest, Leave how) {
    start_code(guest, l2_vh_vmcall);
    if (how == Leave::exit)
        return guest.run_to(ExitReason::vmcall, "VMCALL");
    const auto before = read(Field::guest_rflags);
    write(Field::guest_rflags, 0); // bit 1 must be 1
    const auto entry = guest.try_run();
    write(Field::guest_rflags, before);
    return expect_equal(entry.outcome, Outcome::succeed, "VM entry gets as far as the guest's state") &&
           expect_equal(entry.reason, 0x8000'0021U, "exit reason");
}

const char* text_of(Leave how) {
    return how == Leave::exit ? " after a VM exit" : " after a VM entry that failed";
}

template<typename Body>
void both(Body body) {
    for (const auto how : every_leave) {
        L2 guest;
        body(guest, how);
    }
}

// A host-state MSR: loaded by every exit.
void host_msr(std::uint32_t index, Field field, std::uint64_t first, std::uint64_t second) {
    const auto before = guest::rdmsr(index);
    both([&](L2& guest, Leave how) {
        for (const auto value : {first, second}) {
            write(field, value);
            if (!leave(guest, how))
                return;
            expect_equal(guest::rdmsr(index), value, Text{"in L1", text_of(how)});
        }
    });
    guest::wrmsr(index, before);
}

} // namespace

VMX_TEST(host_sysenter_cs, "vmx.switch.host_sysenter_cs", "IA32_SYSENTER_CS is that of the host state",
         CONTROL) {
    host_msr(msr::sysenter_cs, Field::host_ia32_sysenter_cs, 0x1238, 0x8);
}
VMX_TEST(host_sysenter_esp, "vmx.switch.host_sysenter_esp", "IA32_SYSENTER_ESP is that of the host state",
         CONTROL) {
    host_msr(msr::sysenter_esp, Field::host_ia32_sysenter_esp, 0xffff'8000'1234'5678, 0x1000);
}
VMX_TEST(host_sysenter_eip, "vmx.switch.host_sysenter_eip", "IA32_SYSENTER_EIP is that of the host state",
         CONTROL) {
    host_msr(msr::sysenter_eip, Field::host_ia32_sysenter_eip, 0xffff'9000'1234'5678, 0x2000);
}
VMX_TEST(host_fs_base, "vmx.switch.host_fs_base", "FS base is that of the host state", SEGMENTS) {
    host_msr(msr::fs_base, Field::host_fs_base, 0xffff'a000'1234'5678, 0x3000);
}
VMX_TEST(host_pat, "vmx.switch.host_pat", "IA32_PAT is that of the host state", CONTROL) {
    if (!allowed_exit().may_set(vm_exit::load_ia32_pat))
        return conform::not_applicable("KVM does not offer the control");
    host_msr(msr::pat, Field::host_ia32_pat, 0x0606'0606'0006'0406, 0x0007'0406'0007'0406);
}
VMX_TEST(host_efer, "vmx.switch.host_efer", "IA32_EFER is that of the host state", CONTROL) {
    if (!allowed_exit().may_set(vm_exit::load_ia32_efer))
        return conform::not_applicable("KVM does not offer the control");
    const auto efer = guest::rdmsr(msr::efer);
    host_msr(msr::efer, Field::host_ia32_efer, efer ^ 1, efer);
}

VMX_TEST(host_gs_base, "vmx.switch.host_gs_base", "GS base is that of the host state", SEGMENTS) {
    both([](L2& guest, Leave how) {
        const auto before = guest::rdmsr(msr::gs_base);
        auto* const copy = conform::allocate_pages(1);
        conform::copy_page(copy, guest::pointer_to<void>(before));
        write(Field::host_gs_base, conform::physical(copy));
        leave(guest, how);
        const auto seen = guest::rdmsr(msr::gs_base);
        guest::wrmsr(msr::gs_base, before);
        expect_equal(seen, conform::physical(copy), Text{"GS base", text_of(how)});
    });
}

namespace {

void host_cr0(std::uint64_t bit) {
    both([&](L2& guest, Leave how) {
        const auto before = guest::control_register<0>();
        write(Field::guest_cr0, before);
        for (const auto value : {before ^ bit, before}) {
            write(Field::host_cr0, value);
            if (!leave(guest, how))
                return;
            expect_equal(guest::control_register<0>(), value, Text{"CR0", text_of(how)});
        }
    });
}
void host_cr4(std::uint64_t bit) {
    both([&](L2& guest, Leave how) {
        const auto before = guest::control_register<4>();
        for (const auto value : {before ^ bit, before}) {
            write(Field::host_cr4, value);
            if (!leave(guest, how))
                return;
            expect_equal(guest::control_register<4>(), value, Text{"CR4", text_of(how)});
        }
    });
}

} // namespace

#define HOST_CR(number, name, bit, text)                                                                     \
    VMX_TEST(host_cr##number##_##name, "vmx.switch.host_cr" #number "_" #name,                               \
             "CR" #number "." text " is that of the host state", CONTROL) {                                  \
        host_cr##number(std::uint64_t{1} << (bit));                                                          \
    }
HOST_CR(0, mp, 1, "MP")
HOST_CR(0, em, 2, "EM")
HOST_CR(0, ts, 3, "TS")
HOST_CR(0, wp, 16, "WP")
HOST_CR(0, am, 18, "AM")
HOST_CR(4, tsd, 2, "TSD")
HOST_CR(4, de, 3, "DE")
HOST_CR(4, mce, 6, "MCE")
HOST_CR(4, pge, 7, "PGE")
HOST_CR(4, osfxsr, 9, "OSFXSR")

VMX_TEST(host_cr0_ts_effect, "vmx.switch.host_cr0_ts_effect",
         "CR0.TS of the host state is in force after the exit, and only then", CONTROL) {
    both([](L2& guest, Leave how) {
        const auto before = guest::control_register<0>() & ~std::uint64_t{0xc};
        for (const bool ts : {true, false}) {
            write(Field::guest_cr0, ts ? before : before | 8);
            write(Field::host_cr0, ts ? before | 8 : before);
            if (!leave(guest, how))
                return;
            const auto fault = guest::catch_fault([] { asm volatile("fnop"); });
            expect_equal(fault.raised, ts, Text{"#NM in L1", text_of(how)});
        }
        asm volatile("clts");
    });
}

VMX_TEST(host_cr3, "vmx.switch.host_cr3", "CR3 is that of the host state, with its low bits", CONTROL) {
    both([](L2& guest, Leave how) {
        const auto before = guest::control_register<3>();
        auto* const copy = conform::allocate_pages(1);
        conform::copy_page(copy, guest::pointer_to<void>(before & ~std::uint64_t{0xfff}));
        const auto other = conform::physical(copy) | 0x8; // PWT
        write(Field::host_cr3, other);
        leave(guest, how);
        const auto seen = guest::control_register<3>();
        asm volatile("movq %0, %%cr3" : : "r"(before) : "memory");
        expect_equal(seen, other, Text{"CR3", text_of(how)});
    });
}

VMX_TEST(host_cr3_translates, "vmx.switch.host_cr3_translates",
         "After the exit L1's addresses are translated by the host state's CR3, not by L2's", CONTROL) {
    both([](L2& guest, Leave how) {
        // A page at 512 GiB, in the host's tables alone.
        const auto before = guest::control_register<3>();
        auto* const top = static_cast<std::uint64_t*>(conform::allocate_pages(4));
        conform::copy_page(top, guest::pointer_to<void>(before & ~std::uint64_t{0xfff}));
        auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        page[0] = 0x1234'5678'9abc'def0;
        top[1] = conform::physical(top + 512) | 3;
        top[512] = conform::physical(top + 1024) | 3;
        top[1024] = conform::physical(top + 1536) | 3;
        top[1536] = conform::physical(page) | 3;
        write(Field::host_cr3, conform::physical(top));
        leave(guest, how);
        std::uint64_t seen = 0;
        const auto fault = guest::catch_fault(
            [&] { seen = guest::load(*guest::pointer_to<std::uint64_t>(std::uint64_t{1} << 39)); });
        asm volatile("movq %0, %%cr3" : : "r"(before) : "memory");
        expect_equal(fault.raised, false, Text{"a fault in L1", text_of(how)});
        expect_equal(seen, 0x1234'5678'9abc'def0U, Text{"what L1 reads", text_of(how)});
    });
}

VMX_TEST(host_rflags, "vmx.switch.host_rflags", "RFLAGS is 2 after the exit, whatever L2 and L1 had",
         "Loading Host RIP, RSP, SSP, and RFLAGS") {
    both([](L2& guest, Leave how) {
        write(Field::host_rip, address_of(vmx_host_probe));
        write(Field::guest_rflags,
              rflags_fixed | 0x8d5 | rflags_if | 1U << 10 | 1U << 14 | 1U << 18 | 1U << 21);
        if (leave(guest, how))
            expect_equal(vmx_host_rflags, rflags_fixed, Text{"RFLAGS", text_of(how)});
    });
}
VMX_TEST(host_rsp, "vmx.switch.host_rsp", "RSP and RIP are those of the host state",
         "Loading Host RIP, RSP, SSP, and RFLAGS") {
    both([](L2& guest, Leave how) {
        write(Field::host_rip, address_of(vmx_host_probe));
        // Once, for the RSP that vmx_enter() has from this depth.
        if (!leave(guest, how))
            return;
        expect_equal(vmx_host_rsp, guest.registers.host_rsp, Text{"RSP", text_of(how)});
        const auto stack = conform::physical(conform::allocate_pages(1)) + 0x800;
        vmx_host_back = guest.registers.host_rsp;
        write(Field::host_rsp, stack + 3);
        const bool left = leave(guest, how);
        vmx_host_back = 0;
        if (left)
            expect_equal(vmx_host_rsp, stack + 3, Text{"RSP of another value", text_of(how)});
        expect_equal(read(Field::host_rsp), stack + 3, "host RSP");
        guest.registers.host_rsp = 0;
    });
}

VMX_TEST(host_dr7, "vmx.switch.host_dr7", "DR7 is 400h after the exit, whatever L2 and L1 had", CONTROL) {
    both([](L2& guest, Leave how) {
        std::uint64_t dr7 = 0;
        asm volatile("movq %0, %%dr0; movq %0, %%dr1" : : "r"(std::uint64_t{0xffff'8000'0000'0000}));
        write(Field::guest_dr7, 0x405);
        asm volatile("movq %0, %%dr7" : : "r"(std::uint64_t{0x401}));
        leave(guest, how);
        asm volatile("movq %%dr7, %0" : "=r"(dr7));
        expect_equal(dr7, 0x400U, Text{"DR7", text_of(how)});
    });
}
VMX_TEST(host_debugctl, "vmx.switch.host_debugctl", "IA32_DEBUGCTL is 0 after the exit", CONTROL) {
    both([](L2& guest, Leave how) {
        guest::catch_fault([] { guest::wrmsr(msr::debugctl, 2); });
        leave(guest, how);
        expect_equal(guest::rdmsr(msr::debugctl), 0U, Text{"IA32_DEBUGCTL", text_of(how)});
    });
}

VMX_TEST(host_tables, "vmx.switch.host_gdtr_idtr",
         "GDTR and IDTR have the bases of the host state and limits of FFFFh", SEGMENTS) {
    both([](L2& guest, Leave how) {
        Table gdt{};
        Table idt{};
        asm volatile("sgdt %0" : "=m"(gdt));
        asm volatile("sidt %0" : "=m"(idt));
        auto* const copies = static_cast<std::uint8_t*>(conform::allocate_pages(2));
        conform::copy_page(copies, guest::pointer_to<void>(idt.base));
        for (unsigned i = 0; i < 0x80; ++i)
            copies[4096 + i] = guest::pointer_to<std::uint8_t>(gdt.base)[i];
        write(Field::host_gdtr_base, conform::physical(copies) + 4096);
        write(Field::host_idtr_base, conform::physical(copies));
        write(Field::guest_gdtr_limit, 0x7f);
        write(Field::guest_idtr_limit, 0xfff);
        leave(guest, how);
        Table new_gdt{};
        Table new_idt{};
        asm volatile("sgdt %0" : "=m"(new_gdt));
        asm volatile("sidt %0" : "=m"(new_idt));
        asm volatile("lgdt %0" : : "m"(gdt));
        asm volatile("lidt %0" : : "m"(idt));
        expect_equal(new_gdt.base, conform::physical(copies) + 4096, Text{"GDTR base", text_of(how)});
        expect_equal(new_gdt.limit, 0xffffU, Text{"GDTR limit", text_of(how)});
        expect_equal(new_idt.base, conform::physical(copies), Text{"IDTR base", text_of(how)});
        expect_equal(new_idt.limit, 0xffffU, Text{"IDTR limit", text_of(how)});
    });
}

namespace {

std::uint64_t own_descriptor(std::uint16_t selector) {
    Table gdt{};
    asm volatile("sgdt %0" : "=m"(gdt));
    return guest::pointer_to<std::uint64_t>(gdt.base)[selector / 8];
}
void set_own_descriptor(std::uint16_t selector, std::uint64_t value) {
    Table gdt{};
    asm volatile("sgdt %0" : "=m"(gdt));
    guest::pointer_to<std::uint64_t>(gdt.base)[selector / 8] = value;
}
constexpr std::uint16_t spare = 0x48; // in L1's GDT, as in L2's copy of it

} // namespace

VMX_TEST(host_ldtr, "vmx.switch.host_ldtr", "LDTR is unusable after the exit, though L2's had descriptors",
         SEGMENTS) {
    both([](L2& guest, Leave how) {
        auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        table[1] = own_descriptor(nestbed::wire::kernel_data_selector);
        write(Field::guest_ldtr_selector, 0x28);
        write(Field::guest_ldtr_base, conform::physical(table));
        write(Field::guest_ldtr_limit, 0xfff);
        write(Field::guest_ldtr_access_rights, 0x82);
        leave(guest, how);
        constexpr std::uint32_t selector = 1 << 3 | 1 << 2; // descriptor 1 of the LDT
        std::uint32_t rights = 0;
        bool found = false;
        asm volatile("larl %[selector], %[rights]"
                     : [rights] "+r"(rights), "=@ccz"(found)
                     : [selector] "r"(selector));
        expect(!found, Text{"LAR finds no descriptor in the LDT", text_of(how)});
    });
}

VMX_TEST(host_selectors, "vmx.switch.host_selectors", "Selectors are those of the host state, LDTR's is 0",
         SEGMENTS) {
    both([](L2& guest, Leave how) {
        const auto gs = guest::rdmsr(msr::gs_base);
        set_own_descriptor(spare, own_descriptor(nestbed::wire::kernel_code_selector));
        set_own_descriptor(spare + 8, own_descriptor(nestbed::wire::kernel_data_selector));
        write(Field::host_cs_selector, spare);
        write(Field::host_ss_selector, spare + 8);
        write(Field::host_ds_selector, spare + 8);
        write(Field::host_es_selector, 0);
        write(Field::host_fs_selector, spare + 8);
        write(Field::host_gs_selector, 0);
        write(Field::guest_ldtr_selector, 0x28);
        leave(guest, how);
        std::uint16_t cs = 0;
        std::uint16_t ss = 0;
        std::uint16_t ds = 0;
        std::uint16_t es = 1;
        std::uint16_t fs = 0;
        std::uint16_t new_gs = 1;
        std::uint16_t ldtr = 1;
        asm volatile("movw %%cs, %0" : "=r"(cs));
        asm volatile("movw %%ss, %0" : "=r"(ss));
        asm volatile("movw %%ds, %0" : "=r"(ds));
        asm volatile("movw %%es, %0" : "=r"(es));
        asm volatile("movw %%fs, %0" : "=r"(fs));
        asm volatile("movw %%gs, %0" : "=r"(new_gs));
        asm volatile("sldt %0" : "=r"(ldtr));
        expect_equal(cs, spare, Text{"CS", text_of(how)});
        expect_equal(ss, spare + 8, Text{"SS", text_of(how)});
        expect_equal(ds, spare + 8, Text{"DS", text_of(how)});
        expect_equal(es, 0U, Text{"ES", text_of(how)});
        expect_equal(fs, spare + 8, Text{"FS", text_of(how)});
        expect_equal(new_gs, 0U, Text{"GS", text_of(how)});
        expect_equal(ldtr, 0U, Text{"LDTR", text_of(how)});
        expect_equal(guest::rdmsr(msr::gs_base), gs, Text{"GS base", text_of(how)});
        const std::uint64_t data = nestbed::wire::kernel_data_selector;
        asm volatile("movw %w0, %%ss; movw %w0, %%ds; movw %w0, %%es; pushq %1; leaq 1f(%%rip), %%rax;"
                     "pushq %%rax; lretq; 1:"
                     :
                     : "r"(data), "i"(nestbed::wire::kernel_code_selector)
                     : "rax", "memory");
    });
}

namespace {

// From 64-bit mode into compatibility mode, without a load of DS, ES, FS or SS, to read through one of them,
// and back.
extern "C" std::uint32_t vmx_host_read32(std::uint64_t address, std::uint64_t which);
asm(".pushsection .text\n.balign 16\n.globl vmx_host_read32\nvmx_host_read32:\n"
    "pushq %rbx\nmovl %esi, %ecx\n"
    "pushq $0x48\nleaq 1f(%rip), %rax\npushq %rax\nlretq\n"
    ".code32\n1: xorl %eax, %eax\n"
    "cmpl $0, %ecx\nje 2f\ncmpl $1, %ecx\nje 3f\ncmpl $2, %ecx\nje 4f\n"
    "movl %ss:(%edi), %eax\njmp 5f\n"
    "2: movl %es:(%edi), %eax\njmp 5f\n"
    "3: movl %ds:(%edi), %eax\njmp 5f\n"
    "4: movl %fs:(%edi), %eax\n"
    "5: ljmpl $0x08, $6f\n"
    ".code64\n6: popq %rbx\nret\n.popsection");

} // namespace

VMX_TEST(host_segment_limits, "vmx.switch.host_segment_limits",
         "ES, DS, SS and FS have limits of FFFFFFFFh and, but for FS, base 0, whatever the descriptor says",
         SEGMENTS) {
    both([](L2& guest, Leave how) {
        auto* const page = static_cast<std::uint32_t*>(conform::allocate_pages(1));
        page[0] = 0x1234'abcd;
        set_own_descriptor(spare, 0x00cf'9b00'0000'ffff);     // 32-bit code
        set_own_descriptor(spare + 8, 0x0040'9300'1000'0fff); // data, base 1000h, limit FFFh
        for (const auto field : {Field::host_es_selector, Field::host_ds_selector, Field::host_ss_selector,
                                 Field::host_fs_selector})
            write(field, spare + 8);
        write(Field::host_fs_base, 0);
        // Limits and bases that L2 has, and L1 must not.
        for (const auto field : {Field::guest_es_limit, Field::guest_ds_limit, Field::guest_fs_limit}) {
            write(field, 0xfff);
        }
        for (const auto field :
             {Field::guest_es_access_rights, Field::guest_ds_access_rights, Field::guest_fs_access_rights})
            write(field, 0x4093);
        for (const auto field : {Field::guest_es_base, Field::guest_ds_base})
            write(field, 0x2000);
        if (!leave(guest, how))
            return;
        constexpr const char* name[]{"ES", "DS", "FS", "SS"};
        for (std::uint64_t i = 0; i < 4; ++i) {
            std::uint32_t seen = 0;
            const auto fault =
                guest::catch_fault([&] { seen = vmx_host_read32(conform::physical(page), i); });
            expect_equal(fault.raised, false, Text{"a fault of a read through ", name[i], text_of(how)});
            expect_equal(seen, 0x1234'abcdU, Text{"what L1 reads through ", name[i], text_of(how)});
        }
        const std::uint64_t data = nestbed::wire::kernel_data_selector;
        asm volatile("movw %w0, %%ss; movw %w0, %%ds; movw %w0, %%es" : : "r"(data));
    });
}

VMX_TEST(host_tr, "vmx.switch.host_tr",
         "TR has the selector and base of the host state: an NMI of L1's finds its stack there", SEGMENTS) {
    both([](L2& guest, Leave how) {
        static std::uint64_t at;
        at = 0;
        const auto old_tss = read(Field::host_tr_base);
        auto* const tss = static_cast<std::uint8_t*>(conform::allocate_pages(3));
        for (unsigned i = 0; i < 0x68; ++i)
            tss[i] = guest::pointer_to<std::uint8_t>(old_tss)[i];
        const auto stack = conform::physical(tss) + 3 * 4096;
        *reinterpret_cast<std::uint64_t*>(tss + 0x24) = stack; // IST1, of the NMI
        write(Field::host_tr_base, conform::physical(tss));
        if (!leave(guest, how))
            return;
        std::uint16_t selector = 0;
        asm volatile("str %0" : "=r"(selector));
        expect_equal(selector, read(Field::host_tr_selector), Text{"TR selector", text_of(how)});
        guest::set_nmi_handler([] { asm volatile("movq %%rsp, %0" : "=r"(at)); });
        nmi_self();
        settle();
        guest::set_nmi_handler(nullptr);
        expect(at < stack && at >= stack - 8192,
               Text{"the NMI's stack is that of the host state's TSS", text_of(how)});
        write(Field::host_tr_base, old_tss);
        leave(guest, how);
    });
}

VMX_TEST(host_tr_limit, "vmx.switch.host_tr_limit",
         "TR has the limit 67h: no I/O permission bitmap of L1's is in reach after the exit", SEGMENTS) {
    both([](L2& guest, Leave how) {
        // The map would begin behind the TSS, where all bits of port 80h are 0.
        auto* const tss = guest::pointer_to<std::uint8_t>(read(Field::host_tr_base));
        *reinterpret_cast<std::uint16_t*>(tss + 0x66) = 0x68;
        tss[0x68 + 0x80 / 8] = 0;
        write(Field::guest_tr_limit, 0x2068);
        if (!leave(guest, how))
            return;
        bool reached = false;
        const auto fault = guest::catch_fault([&] {
            guest::run_in_user_mode(
                [](void* argument) {
                    guest::in32(0x80);
                    *static_cast<bool*>(argument) = true;
                },
                &reached);
        });
        expect(fault.is(13), Text{"IN in ring 3 is #GP", text_of(how)});
        expect_equal(reached, false, "the code behind IN");
    });
}

} // namespace nestbed::vmx
