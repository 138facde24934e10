// VMLOAD and VMSAVE in L1: what they load and store, and nothing else (APM volume 2, 15.5.2; volume 3,
// VMLOAD).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Hex;
using conform::Text;

namespace {

// Offsets in the VMCB of all that the two instructions move (appendix B.1, table B-2).
struct Range {
    unsigned first, end;
};
constexpr Range moved[] = {
    {0x440, 0x460}, // FS, GS
    {0x470, 0x480}, // LDTR
    {0x490, 0x4a0}, // TR
    {0x600, 0x640}, // STAR, LSTAR, CSTAR, SFMASK, KernelGsBase, SYSENTER_CS, _ESP, _EIP
    // Stored too by processors with them (APM volume 3, VMSAVE): not judged.
    {0x2e0, 0x2e8}};
bool is_moved(unsigned offset) {
    for (const auto& range : moved)
        if (offset >= range.first && offset < range.end)
            return true;
    return false;
}

// L1 must not run on with another TR or GS than its own: the state comes back right behind.
void load_and_save(Vmcb& from, Vmcb& to) {
    auto address = conform::physical(&from);
    guest::disable_interrupts();
    asm volatile("vmload %%rax; movq %1, %%rax; vmsave %%rax; movq %2, %%rax; vmload %%rax"
                 : "+a"(address)
                 : "r"(conform::physical(&to)), "r"(conform::physical(this_host().state))
                 : "memory");
    guest::enable_interrupts();
}

Vmcb& own_state() {
    auto& vmcb = conform::allocate<Vmcb>();
    vmsave(conform::physical(&vmcb));
    return vmcb;
}

void expect_segment(const Segment& seen, const Segment& expected, const char* name) {
    expect_equal(seen.selector, expected.selector, Text{name, ".selector"});
    expect_equal(seen.attributes & attributes_mask, expected.attributes & attributes_mask,
                 Text{name, ".attributes without G"});
    expect_equal(seen.limit, expected.limit, Text{name, ".limit"});
    expect_equal(seen.base, expected.base, Text{name, ".base"});
}

} // namespace

#define WORD_CASE(field, value_)                                                                             \
    SVM_TEST(vmload_word_##field, "svm.vmload_vmsave.round_trip_" #field,                                    \
             "VMLOAD takes this field, and VMSAVE stores it elsewhere", "15.5.2") {                          \
        auto& from = own_state();                                                                            \
        auto& to = conform::allocate<Vmcb>();                                                                \
        from.save.field = value_;                                                                            \
        load_and_save(from, to);                                                                             \
        expect_equal(to.save.field, std::uint64_t{value_}, #field " after VMLOAD and VMSAVE");               \
    }
WORD_CASE(star, 0x001b'0008'1234'5678)
WORD_CASE(lstar, 0xffff'8000'1234'5678)
WORD_CASE(cstar, 0x0000'7fff'1234'5678)
WORD_CASE(sfmask, 0x0004'7700)
WORD_CASE(kernel_gs_base, 0xffff'9000'4321'8765)
WORD_CASE(sysenter_cs, 0x0008)
WORD_CASE(sysenter_esp, 0x1234'5678)
WORD_CASE(sysenter_eip, 0x2345'6789)
#undef WORD_CASE
// AMD's SYSENTER MSRs keep 64 bits in the VMCB; in long mode SYSENTER is not there (APM volume 2, 6.1.2).

#define SEGMENT_CASE(name, field, title, ...)                                                                \
    SVM_TEST(vmload_segment_##name, "svm.vmload_vmsave.round_trip_" #name, title, "15.5.2") {                \
        auto& from = own_state();                                                                            \
        auto& to = conform::allocate<Vmcb>();                                                                \
        from.save.field = __VA_ARGS__;                                                                       \
        load_and_save(from, to);                                                                             \
        expect_segment(to.save.field, from.save.field, #field);                                              \
    }
SEGMENT_CASE(fs, fs, "FS with its hidden part goes in and out", {0x48, 0xc93, 0xffff'ffff, 0x1234'5678'9abc})
SEGMENT_CASE(fs_high, fs, "FS with a base in the upper half goes in and out",
             {0x48, 0xc93, 0xffff'ffff, 0xffff'8765'4321'0000})
SEGMENT_CASE(fs_bytes, fs, "FS with a limit in bytes goes in and out", {0x53, 0x4f3, 0x4321, 0x8000})
SEGMENT_CASE(gs, gs, "GS with its hidden part goes in and out", {0x50, 0xc93, 0xffff'ffff, 0x2345'6789'0abc})
SEGMENT_CASE(gs_high, gs, "GS with a base in the upper half goes in and out",
             {0x50, 0xc93, 0xffff'ffff, 0xffff'9765'4321'0000})
SEGMENT_CASE(ldtr, ldtr, "LDTR with its hidden part goes in and out", {0x58, 0x082, 0x1357, 0x1234'5678})
SEGMENT_CASE(ldtr_high, ldtr, "LDTR with a base in the upper half goes in and out",
             {0x58, 0x082, 0xffff, 0xffff'a000'1234'0000})
SEGMENT_CASE(tr, tr, "TR with its hidden part goes in and out", {0x60, 0x08b, 0x2067, 0x3456'7890})
SEGMENT_CASE(tr_high, tr, "TR with a base in the upper half goes in and out",
             {0x60, 0x08b, 0x0067, 0xffff'b000'1234'0000})
#undef SEGMENT_CASE
SVM_TEST(vmload_ldtr_null, "svm.vmload_vmsave.round_trip_ldtr_null", "A null LDTR goes in and out",
         "15.5.2") {
    auto& from = own_state();
    auto& to = conform::allocate<Vmcb>();
    from.save.ldtr = {};
    load_and_save(from, to);
    expect_equal(to.save.ldtr.selector, 0U, "LDTR.selector");
    expect_equal(to.save.ldtr.attributes & 0x80, 0U, "P of LDTR");
}

// What L1's own instructions see of what VMLOAD loaded.
namespace {
template<std::uint32_t Msr, std::uint64_t Value>
void loaded_msr(std::uint64_t SaveArea::*field) {
    auto& from = own_state();
    from.save.*field = Value;
    const auto mine = conform::physical(this_host().state); // found through GS
    guest::disable_interrupts();
    vmload(conform::physical(&from));
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(Msr));
    vmload(mine);
    guest::enable_interrupts();
    expect_equal(std::uint64_t{high} << 32 | low, Value, "the MSR after VMLOAD");
}
template<std::uint32_t Msr, std::uint64_t Value>
void saved_msr(std::uint64_t SaveArea::*field) {
    const auto mine = guest::rdmsr(Msr);
    auto& to = conform::allocate<Vmcb>();
    guest::wrmsr(Msr, Value);
    vmsave(conform::physical(&to));
    guest::wrmsr(Msr, mine);
    expect_equal(to.save.*field, Value, "the field after VMSAVE");
}
} // namespace
#define MSR_CASE(name, value)                                                                                \
    SVM_TEST(vmload_msr_##name, "svm.vmload_vmsave.vmload_sets_msr_" #name,                                  \
             "RDMSR gives what VMLOAD loaded", "15.5.2") {                                                   \
        loaded_msr<msr::name, value>(&SaveArea::name);                                                       \
    }                                                                                                        \
    SVM_TEST(vmsave_msr_##name, "svm.vmload_vmsave.vmsave_takes_msr_" #name,                                 \
             "VMSAVE stores what WRMSR wrote", "15.5.2") {                                                   \
        saved_msr<msr::name, value>(&SaveArea::name);                                                        \
    }
MSR_CASE(star, 0x002b'0010'8765'4321)
MSR_CASE(lstar, 0xffff'8000'1111'2222)
MSR_CASE(cstar, 0xffff'8000'3333'4444)
MSR_CASE(sfmask, 0x0002'0700)
MSR_CASE(kernel_gs_base, 0xffff'8000'5555'6666)
MSR_CASE(sysenter_cs, 0x0010)
MSR_CASE(sysenter_esp, 0x7777'8888)
MSR_CASE(sysenter_eip, 0x1999'aaaa)
#undef MSR_CASE

namespace {
void base_msr(std::uint32_t number, Segment SaveArea::*segment, std::uint64_t value) {
    auto& from = own_state();
    (from.save.*segment).base = value;
    const auto mine = conform::physical(this_host().state); // found through GS
    guest::disable_interrupts();
    vmload(conform::physical(&from));
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    vmload(mine);
    guest::enable_interrupts();
    expect_equal(std::uint64_t{high} << 32 | low, value, "the base MSR after VMLOAD");
}
} // namespace
SVM_TEST(vmload_fs_base, "svm.vmload_vmsave.vmload_sets_msr_fs_base", "FS.base after VMLOAD", "15.5.2") {
    base_msr(msr::fs_base, &SaveArea::fs, 0xffff'8000'1234'0000);
}
SVM_TEST(vmload_gs_base, "svm.vmload_vmsave.vmload_sets_msr_gs_base", "GS.base after VMLOAD", "15.5.2") {
    base_msr(msr::gs_base, &SaveArea::gs, 0xffff'8000'4321'0000);
}
SVM_TEST(vmload_selectors, "svm.vmload_vmsave.vmload_sets_selectors",
         "MOV from FS and GS, SLDT and STR give what VMLOAD loaded", "15.5.2") {
    auto& from = own_state();
    from.save.fs.selector = 0x48;
    from.save.gs.selector = 0x50;
    from.save.ldtr = {0x58, 0x082, 0x77, 0};
    from.save.tr.selector = 0x60;
    std::uint16_t seen[4];
    const auto mine = conform::physical(this_host().state); // found through GS
    guest::disable_interrupts();
    vmload(conform::physical(&from));
    asm volatile("movw %%fs, %0; movw %%gs, %1; sldt %2; str %3"
                 : "=r"(seen[0]), "=r"(seen[1]), "=r"(seen[2]), "=r"(seen[3]));
    vmload(mine);
    guest::enable_interrupts();
    expect_equal(seen[0], 0x48U, "FS");
    expect_equal(seen[1], 0x50U, "GS");
    expect_equal(seen[2], 0x58U, "LDTR");
    expect_equal(seen[3], 0x60U, "TR");
}

// Nothing else.
SVM_TEST(vmsave_only, "svm.vmload_vmsave.vmsave_writes_only_its_fields",
         "VMSAVE changes no byte of the page but its fields, nor of the pages around", "15.5.2") {
    auto* const pages = static_cast<std::uint8_t*>(conform::allocate_pages(3));
    for (unsigned i = 0; i < 3 * 4096; ++i)
        pages[i] = static_cast<std::uint8_t>(i * 7 + i / 4096 + 1);
    vmsave(conform::physical(pages + 4096));
    unsigned first = ~0U;
    unsigned changed = 0;
    for (unsigned i = 0; i < 3 * 4096; ++i) {
        if (i >= 4096 && i < 8192 && is_moved(i - 4096))
            continue;
        if (pages[i] != static_cast<std::uint8_t>(i * 7 + i / 4096 + 1)) {
            ++changed;
            first = first == ~0U ? i : first;
        }
    }
    expect_equal(changed, 0U, Text{"bytes changed, the first at page offset ", Hex{first & 0xfff}});
}
SVM_TEST(vmsave_all, "svm.vmload_vmsave.vmsave_writes_all_its_fields",
         "VMSAVE writes each of its fields: two pages with different patterns end alike there", "15.5.2") {
    auto* const a = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    auto* const b = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    for (unsigned i = 0; i < 4096; ++i) {
        a[i] = 0x55;
        b[i] = 0xaa;
    }
    vmsave(conform::physical(a));
    vmsave(conform::physical(b));
    for (unsigned i = 0x440; i < 0x640; ++i)
        if (is_moved(i) && a[i] != b[i]) {
            expect_equal(a[i], b[i], Text{"byte at ", Hex{i}, " in the two pages"});
            return;
        }
    expect(true, "all bytes alike");
}
SVM_TEST(vmload_reads_only, "svm.vmload_vmsave.vmload_writes_nothing", "VMLOAD changes no byte of its page",
         "15.5.2") {
    auto& from = own_state();
    auto& copy = conform::allocate<Vmcb>();
    from.save.rip = 0x1234;
    from.control.exit_code = 0x5678;
    conform::copy_page(&copy, &from);
    vmload(conform::physical(&from));
    const auto* const a = reinterpret_cast<const std::uint64_t*>(&from);
    const auto* const b = reinterpret_cast<const std::uint64_t*>(&copy);
    unsigned changed = 0;
    for (unsigned i = 0; i < 512; ++i)
        changed += a[i] != b[i] ? 1 : 0;
    expect_equal(changed, 0U, "words of the page changed");
}
SVM_TEST(vmload_loads_only, "svm.vmload_vmsave.vmload_loads_only_its_fields",
         "VMLOAD of a page with other control and debug registers, tables and RFLAGS loads none of them",
         "15.5.2") {
    auto& from = own_state();
    auto& save = from.save;
    save.cr0 = 0x10;
    save.cr2 = 0x1234'0000;
    save.cr3 = 0x5000;
    save.cr4 = 0;
    save.efer = 0;
    save.dr6 = 0xffff'0fff;
    save.dr7 = 0x455;
    save.rsp = save.rip = save.rax = 0x77;
    save.cpl = 3;
    save.g_pat = 0;
    save.gdtr = save.idtr = {0, 0, 0x10, 0x1000};
    save.cs = save.ss = save.ds = save.es = {0x33, 0xf3, 0x10, 0x1000};
    const std::uint64_t before[] = {guest::control_register<0>(),
                                    guest::control_register<3>(),
                                    guest::control_register<4>(),
                                    guest::rdmsr(msr::efer),
                                    read_dr7(),
                                    guest::rdmsr(msr::pat)};
    asm volatile("movq %0, %%cr2" : : "r"(0x4321'0000UL));
    vmload(conform::physical(&from));
    expect_equal(guest::control_register<2>(), 0x4321'0000U, "CR2");
    expect_equal(guest::control_register<0>(), before[0], "CR0");
    expect_equal(guest::control_register<3>(), before[1], "CR3");
    expect_equal(guest::control_register<4>(), before[2], "CR4");
    expect_equal(guest::rdmsr(msr::efer), before[3], "EFER");
    expect_equal(read_dr7(), before[4], "DR7");
    expect_equal(guest::rdmsr(msr::pat), before[5], "PAT");
}
SVM_TEST(vmload_registers, "svm.vmload_vmsave.registers_kept",
         "VMLOAD and VMSAVE change no general register and no flag", "15.5.2") {
    auto& state = own_state();
    std::uint64_t rax[2] = {};
    std::uint64_t rflags[4] = {};
    guest::disable_interrupts();
    asm volatile("pushfq; popq %2; stc; pushfq; popq %4\n"
                 "vmload %%rax; movq %%rax, %0; vmsave %%rax; movq %%rax, %1; pushfq; popq %3"
                 : "=&r"(rax[0]), "=&r"(rax[1]), "=&r"(rflags[0]), "=&r"(rflags[1]), "=&r"(rflags[2])
                 : "a"(conform::physical(&state))
                 : "memory", "cc");
    guest::enable_interrupts();
    expect_equal(rax[0], conform::physical(&state), "RAX after VMLOAD");
    expect_equal(rax[1], conform::physical(&state), "RAX after VMSAVE");
    expect_equal(rflags[1], rflags[2], "RFLAGS after both");
}

// Addresses.
namespace {
std::uint64_t beyond_address_width() {
    return std::uint64_t{1} << (guest::cpuid(0x8000'0008, 0).eax & 0xff);
}
void bad_address(std::uint64_t address, bool load) {
    const auto fault = guest::catch_fault([&] {
        if (load)
            vmload(address);
        else
            vmsave(address);
    });
    expect(fault.is(13), "#GP(0)");
    expect_equal(fault.error_code, 0U, "error code");
}
} // namespace
#define ADDRESS_CASE(name, address)                                                                          \
    SVM_TEST(vmload_address_##name, "svm.vmload_vmsave.vmload_bad_address_" #name,                           \
             "VMLOAD of an address that is not of a page of memory raises #GP", "15.5.2") {                  \
        bad_address(address, true);                                                                          \
    }                                                                                                        \
    SVM_TEST(vmsave_address_##name, "svm.vmload_vmsave.vmsave_bad_address_" #name,                           \
             "VMSAVE to an address that is not of a page of memory raises #GP", "15.5.2") {                  \
        bad_address(address, false);                                                                         \
    }
ADDRESS_CASE(unaligned_1, conform::physical(conform::allocate_pages(2)) + 1)
ADDRESS_CASE(unaligned_8, conform::physical(conform::allocate_pages(2)) + 8)
ADDRESS_CASE(unaligned_800, conform::physical(conform::allocate_pages(2)) + 0x800)
ADDRESS_CASE(beyond_width, beyond_address_width())
ADDRESS_CASE(bit_63, std::uint64_t{1} << 63)
#undef ADDRESS_CASE
SVM_TEST(vmload_cpl_3, "svm.vmload_vmsave.vmload_cpl_3",
         "VMLOAD in ring 3 of L2 raises #GP before its intercept", "15.9") {
    L2 guest;
    guest.intercept(Intercept::vmload);
    guest.intercept_exception(13);
    const auto page = conform::physical(&own_state());
    auto code = [&] { conform::in_ring_3([&] { vmload(page); }); };
    guest.start(code);
    guest.run_to(exception_exit(13), "#GP of VMLOAD in ring 3");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
}
SVM_TEST(vmsave_cpl_3, "svm.vmload_vmsave.vmsave_cpl_3",
         "VMSAVE in ring 3 of L2 raises #GP before its intercept", "15.9") {
    L2 guest;
    guest.intercept(Intercept::vmsave);
    guest.intercept_exception(13);
    const auto page = conform::physical(&own_state());
    auto code = [&] { conform::in_ring_3([&] { vmsave(page); }); };
    guest.start(code);
    guest.run_to(exception_exit(13), "#GP of VMSAVE in ring 3");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
}

} // namespace nestbed::svm
