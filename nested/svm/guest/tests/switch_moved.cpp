// VMCBs that move: to another page, to another vCPU, and many of them on one vCPU (APM volume 2, 15.15.2).
#include <new>

#include "nested/guest/barrier.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::Text;

L2_CODE(l2_moved_look, 64,
        "movq %cr0, %r8; movq %cr2, %r9; movq %cr3, %r10; movq %cr4, %r11; movq %dr6, %r12; movq %dr7, %r13\n"
        "subq $16, %rsp; sgdt (%rsp); movq 2(%rsp), %r14; sidt (%rsp); movq 2(%rsp), %r15; addq $16, %rsp\n"
        "xorl %ebx, %ebx; movw %cs, %bx; xorl %ecx, %ecx; movw %ds, %cx; xorl %edx, %edx; movw %es, %dx\n"
        "movq %rdi, %rsi\n"
        "vmmcall");
L2_CODE(l2_moved_change, 64,
        "movq %rdi, %dr7; movq %rdi, %cr2; movl %esi, %eax; movw %ax, %ds; movw %ax, %es; vmmcall");
L2_CODE(l2_moved_read, 64, "movq (%rdi), %rbx; vmmcall");

namespace {

void give_values(L2& guest, unsigned which) {
    auto& save = guest.save();
    save.cr2 = 0x2000'0000U + which;
    save.cr0 = which % 2 != 0 ? save.cr0 | 8 : save.cr0 & ~std::uint64_t{8};
    save.cr4 = which % 3 != 0 ? save.cr4 | 4 : save.cr4 & ~std::uint64_t{4};
    save.dr6 = 0xffff'0ff0 | (which & 0xf);
    save.dr7 = 0x400 | (which & 0xf) << 16;
    save.gdtr.base = 0x10'0000U * (which + 1);
    save.idtr.base = 0x10'0000U * (which + 1) + 0x1000;
    save.ds.selector = static_cast<std::uint16_t>(0x40 + 8 * which);
    save.es.selector = static_cast<std::uint16_t>(0x48 + 8 * which);
    save.cs.selector = static_cast<std::uint16_t>(0x58 + 8 * which);
}
void look_and_expect(L2& guest, const Text& who) {
    const auto values = guest.save();
    start_blob(guest, l2_moved_look, 0x0123'4567);
    if (!guest.run_to(ExitCode::vmmcall, who))
        return;
    const auto& seen = guest.registers;
    expect_equal(seen.r8, values.cr0, Text{who, ": CR0 as L2 sees it"});
    expect_equal(seen.r9, values.cr2, Text{who, ": CR2 as L2 sees it"});
    expect_equal(seen.r10, values.cr3, Text{who, ": CR3 as L2 sees it"});
    expect_equal(seen.r11, values.cr4, Text{who, ": CR4 as L2 sees it"});
    expect_equal(seen.r12, values.dr6, Text{who, ": DR6 as L2 sees it"});
    expect_equal(seen.r13, values.dr7, Text{who, ": DR7 as L2 sees it"});
    expect_equal(seen.r14, values.gdtr.base, Text{who, ": GDTR.base as L2 sees it"});
    expect_equal(seen.r15, values.idtr.base, Text{who, ": IDTR.base as L2 sees it"});
    expect_equal(seen.rbx, values.cs.selector, Text{who, ": CS as L2 sees it"});
    expect_equal(seen.rcx, values.ds.selector, Text{who, ": DS as L2 sees it"});
    expect_equal(seen.rdx, values.es.selector, Text{who, ": ES as L2 sees it"});
    expect_equal(seen.rsi, 0x0123'4567U, Text{who, ": RDI as L2 sees it"});
    expect_equal(guest.save().ds.selector, values.ds.selector, Text{who, ": VMCB.DS.selector"});
    expect_equal(guest.save().gdtr.base, values.gdtr.base, Text{who, ": VMCB.GDTR.base"});
    expect_equal(guest.save().dr7, values.dr7, Text{who, ": VMCB.DR7"});
    expect_equal(guest.save().cr2, values.cr2, Text{who, ": VMCB.CR2"});
}

} // namespace

SVM_TEST(switch_moved_first_run, "svm.switch.moved_first_run_all_clean",
         "A VMCB that this vCPU has never run is loaded though all its clean bits are set", "15.15.2") {
    L2 first;
    L2 second;
    give_values(first, 1);
    give_values(second, 2);
    look_and_expect(first, Text{"another guest"});
    second.control().clean = clean::all;
    look_and_expect(second, Text{"a new VMCB, all bits set"});
}
SVM_TEST(switch_moved_very_first, "svm.switch.moved_very_first_all_clean",
         "The first VMCB of all is loaded though all its clean bits are set", "15.15.2") {
    L2 guest;
    give_values(guest, 1);
    guest.control().clean = clean::all;
    look_and_expect(guest, Text{"the first VMRUN of this vCPU, all bits set"});
}
SVM_TEST(
    switch_moved_page, "svm.switch.moved_to_other_page",
    "A VMCB copied to a page that this vCPU has never run, and changed there, is loaded with all bits set",
    "15.15.2") {
    L2 guest;
    give_values(guest, 1);
    look_and_expect(guest, Text{"at the first page"});
    guest.move_vmcb(conform::allocate<Vmcb>());
    give_values(guest, 3);
    guest.control().clean = clean::all;
    look_and_expect(guest, Text{"at the second page, changed, all bits set"});
}
SVM_TEST(switch_moved_page_and_back, "svm.switch.moved_to_other_page_and_back",
         "A VMCB moved to another page and back, with its bits clear where it changed, has its new state",
         "15.15.2") {
    L2 guest;
    auto& home = guest.vmcb();
    give_values(guest, 1);
    look_and_expect(guest, Text{"at the first page"});
    guest.move_vmcb(conform::allocate<Vmcb>());
    give_values(guest, 3);
    look_and_expect(guest, Text{"at the second page"});
    guest.move_vmcb(home);
    guest.control().clean = 0;
    give_values(guest, 4);
    look_and_expect(guest, Text{"back at the first page, nothing clean"});
}
SVM_TEST(switch_moved_alternate, "svm.switch.moved_two_alternate_all_clean",
         "Two VMCBs in turn on one vCPU with all clean bits set keep their states apart", "15.15.2") {
    L2 first;
    L2 second;
    give_values(first, 1);
    give_values(second, 2);
    look_and_expect(first, Text{"first, nothing clean"});
    look_and_expect(second, Text{"second, nothing clean"});
    first.control().clean = second.control().clean = clean::all;
    for (unsigned round = 0; round < 4; ++round) {
        look_and_expect(first, Text{"first, all clean, round ", round});
        look_and_expect(second, Text{"second, all clean, round ", round});
    }
}
SVM_TEST(switch_moved_alternate_l2_changes, "svm.switch.moved_two_alternate_changed_by_l2",
         "Two VMCBs in turn with all clean bits set keep what each L2 itself changed", "15.15.2") {
    L2 guests[2];
    for (unsigned i = 0; i < 2; ++i)
        give_values(guests[i], i + 1);
    for (unsigned round = 0; round < 3; ++round)
        for (unsigned i = 0; i < 2; ++i) {
            auto& guest = guests[i];
            const auto value = 0x0001'0400U * (1 + i) | (i + 1U) << 18 | (round & 3U) << 22 | 0x400;
            const auto dr7 = (value & 0xffff'0000U) | 0x400;
            guest.save().gdtr.base = conform::physical(guest.context().gdt);
            guest.save().cs.selector = nestbed::wire::kernel_code_selector;
            guest.control().clean = round == 0 ? 0 : clean::all & ~clean::dt & ~clean::seg;
            start_blob(guest, l2_moved_change, dr7);
            guest.registers.rsi = i == 0 ? 0x10 : nestbed::wire::user_data_selector & ~3U;
            guest.run_to(ExitCode::vmmcall, "L2 changes its state");
            guest.control().clean = clean::all;
            look_and_expect(guests[i], Text{"guest ", i, " after its change"});
            if (round > 0)
                look_and_expect(guests[1 - i], Text{"guest ", 1 - i, " after the other's change"});
            expect_equal(guest.save().dr7, dr7, "VMCB.DR7 as L2 set it");
        }
}
namespace {
template<unsigned Guests>
void many(bool all_clean) {
    L2* guests[Guests];
    for (unsigned i = 0; i < Guests; ++i) {
        guests[i] = new (conform::allocate_pages(1)) L2;
        give_values(*guests[i], i % 16);
        guests[i]->control().asid = 1 + i;
        guests[i]->save().cr2 = 0x7000'0000 + i;
    }
    for (unsigned round = 0; round < 3; ++round)
        for (unsigned i = 0; i < Guests; ++i) {
            guests[i]->control().clean = all_clean && round > 0 ? clean::all : 0;
            look_and_expect(*guests[i], Text{"guest ", i, ", round ", round});
        }
}
} // namespace
SVM_TEST(switch_moved_many_16, "svm.switch.moved_16_guests",
         "Sixteen guests in turn on one vCPU keep their states apart", "15.5.1") {
    many<16>(false);
}
SVM_TEST(switch_moved_many_16_clean, "svm.switch.moved_16_guests_all_clean",
         "Sixteen guests in turn on one vCPU with all clean bits set keep their states apart", "15.15.2") {
    many<16>(true);
}
SVM_TEST(switch_moved_one_asid, "svm.switch.moved_two_page_tables_one_asid",
         "Two guests with one ASID and page tables of their own see their own pages after a flush", "15.16") {
    L2 guests[2];
    auto* const pages = static_cast<std::uint64_t*>(conform::allocate_pages(3));
    NestedPageTables tables[2];
    for (unsigned i = 0; i < 2; ++i) {
        pages[512 * (i + 1)] = 0xa51d + i;
        tables[i].entry(conform::physical(pages), 1) = conform::physical(pages + 512 * (i + 1)) | 7;
        guests[i].save().cr3 = tables[i].root();
        guests[i].control().tlb_control = tlb_control::flush_all;
    }
    for (unsigned round = 0; round < 3; ++round)
        for (unsigned i = 0; i < 2; ++i) {
            start_blob(guests[i], l2_moved_read, conform::physical(pages));
            guests[i].run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
            expect_equal(guests[i].registers.rbx, 0xa51dU + i, "what the guest reads");
        }
}

// Between vCPUs. The bits must be 0 on the vCPU that the guest comes back to (15.15.2); on one that has never
// run this page they count for nothing.
namespace {

conform::Barrier barrier;
L2* shared_guest;
L2* other_guest;

// vCPU 0 makes the guest, then the vCPUs run it in turn.
template<typename Turn>
void take_turns(unsigned turns, Turn turn) {
    const auto me = guest::this_vcpu().vcpu;
    const auto vcpus = guest::header().vcpus;
    if (me == 0) {
        shared_guest = new (conform::allocate_pages(1)) L2;
        other_guest = new (conform::allocate_pages(1)) L2;
        give_values(*shared_guest, 1);
        give_values(*other_guest, 2);
    }
    barrier.wait();
    for (unsigned i = 0; i < turns; ++i) {
        if (i % vcpus == me)
            turn(*shared_guest, i);
        barrier.wait();
    }
    expect_equal(guest::this_vcpu().vcpu, me, "GS of L1 after its last exit");
}

} // namespace
SVM_TEST(switch_moved_vcpu, "svm.switch.moved_between_vcpus",
         "A VMCB that two vCPUs run in turn, nothing clean, has its state on both", "15.15.2", .vcpus = 2) {
    take_turns(8, [](L2& guest, unsigned turn) {
        give_values(guest, turn);
        guest.control().clean = 0;
        look_and_expect(guest, Text{"turn ", turn});
    });
}
SVM_TEST(switch_moved_vcpu_unchanged, "svm.switch.moved_between_vcpus_unchanged_by_l1",
         "What L2 changes on one vCPU it finds on the next, nothing clean", "15.15.2", .vcpus = 2) {
    take_turns(8, [](L2& guest, unsigned turn) {
        guest.control().clean = 0;
        guest.save().cs.selector = nestbed::wire::kernel_code_selector;
        guest.save().gdtr.base = conform::physical(guest.context().gdt);
        if (turn > 0)
            look_and_expect(guest, Text{"turn ", turn, ", as the other vCPU left it"});
        start_blob(guest, l2_moved_change, turn << 16 | 0x400);
        guest.registers.rsi = turn % 2 == 0 ? 0x10 : nestbed::wire::user_data_selector & ~3U;
        guest.run_to(ExitCode::vmmcall, "L2 changes its state");
        expect_equal(guest.save().dr7, turn << 16 | 0x400, "VMCB.DR7 as L2 set it");
    });
}
SVM_TEST(switch_moved_vcpu_first, "svm.switch.moved_to_new_vcpu_all_clean",
         "A VMCB is loaded with all bits set on a vCPU that has run another one, never this", "15.15.2",
         .vcpus = 2) {
    take_turns(2, [](L2& guest, unsigned turn) {
        if (turn == 1) {
            look_and_expect(*other_guest, Text{"another guest, on vCPU 1"});
            give_values(guest, 5);
            guest.control().clean = clean::all;
        }
        look_and_expect(guest, Text{"turn ", turn});
    });
}
SVM_TEST(switch_moved_vcpu_4, "svm.switch.moved_between_4_vcpus",
         "A VMCB that four vCPUs run in turn, nothing clean, has its state on all", "15.15.2", .vcpus = 4) {
    take_turns(12, [](L2& guest, unsigned turn) {
        give_values(guest, turn);
        guest.control().clean = 0;
        look_and_expect(guest, Text{"turn ", turn});
    });
}
SVM_TEST(switch_moved_vcpu_npt, "svm.switch.moved_between_vcpus_npt",
         "A guest with nested paging that two vCPUs run in turn has its state on both", "15.15.2",
         .needs = "npt", .vcpus = 2) {
    take_turns(6, [](L2& guest, unsigned turn) {
        if (turn == 0)
            NestedPageTables{}.use_in(guest);
        give_values(guest, turn);
        guest.control().clean = 0;
        guest.control().tlb_control = tlb_control::flush_all;
        look_and_expect(guest, Text{"turn ", turn});
    });
}

} // namespace nestbed::svm
