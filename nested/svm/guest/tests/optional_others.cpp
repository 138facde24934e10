// Decode assists, LBR virtualization, PAUSE filter, virtual NMI and AVIC where they are offered, and their
// bits in the VMCB where they are not (APM volume 2, 15.8.4, 15.14.4, 15.21.10, 15.23, 15.29).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

// Decode assists (15.8.4).

L2_CODE(l2_assist_cr4_r9, 64, "movq %cr4, %r9; vmmcall");
L2_CODE(l2_assist_to_cr4, 64, "movq %cr4, %rsi; movq %rsi, %cr4; vmmcall");
L2_CODE(l2_assist_clts, 64, "clts; vmmcall");
L2_CODE(l2_assist_lmsw, 64, "smsw %rax; lmsw %ax; vmmcall");
L2_CODE(l2_assist_dr, 64, "movq %dr3, %r12; vmmcall");
L2_CODE(l2_assist_invlpg, 64, "invlpg 0x1234(%rdi); vmmcall");
L2_CODE(l2_assist_int, 64, "int $0x9d; vmmcall");
L2_CODE(l2_assist_read, 64, "movq (%rdi), %rbx; vmmcall");

namespace {
constexpr std::uint64_t mov_crx = std::uint64_t{1} << 63;
void mov_exit(const char* code, ExitCode exit, std::uint32_t cr, std::uint32_t dr, std::uint64_t info) {
    L2 guest;
    start_blob(guest, code);
    guest.control().intercept_cr = cr;
    guest.control().intercept_dr = dr;
    guest.run_to(exit, "the access is intercepted");
    expect_equal(guest.control().exit_info_1, info, "EXITINFO1");
}
} // namespace
SVM_TEST(assist_cr_read, "svm.optional.decode_cr_read", "EXITINFO1 of MOV from CR4 names R9 and says MOV",
         "15.8.1", .needs = "decodeassists") {
    mov_exit(l2_assist_cr4_r9, read_cr_exit(4), 1U << 4, 0, mov_crx | 9);
}
SVM_TEST(assist_cr_write, "svm.optional.decode_cr_write", "EXITINFO1 of MOV to CR4 names RSI and says MOV",
         "15.8.1", .needs = "decodeassists") {
    mov_exit(l2_assist_to_cr4, write_cr_exit(4), 1U << 20, 0, mov_crx | 6);
}
SVM_TEST(assist_clts, "svm.optional.decode_clts", "EXITINFO1 of CLTS does not say MOV", "15.8.1",
         .needs = "decodeassists") {
    mov_exit(l2_assist_clts, ExitCode::write_cr0, 1U << 16, 0, 0);
}
SVM_TEST(assist_lmsw, "svm.optional.decode_lmsw", "EXITINFO1 of LMSW does not say MOV", "15.8.1",
         .needs = "decodeassists") {
    mov_exit(l2_assist_lmsw, ExitCode::write_cr0, 1U << 16, 0, 0);
}
SVM_TEST(assist_dr, "svm.optional.decode_dr", "EXITINFO1 of MOV from DR3 names R12", "15.8.1",
         .needs = "decodeassists") {
    mov_exit(l2_assist_dr, read_dr_exit(3), 0, 1U << 3, 12);
}
SVM_TEST(assist_invlpg, "svm.optional.decode_invlpg", "EXITINFO1 of INVLPG has the address", "15.8.3",
         .needs = "decodeassists") {
    L2 guest;
    guest.intercept(Intercept::invlpg);
    start_blob(guest, l2_assist_invlpg, 0x0012'3400'0000);
    guest.run_to(ExitCode::invlpg, "INVLPG is intercepted");
    expect_equal(guest.control().exit_info_1, 0x0012'3400'1234U, "EXITINFO1");
}
SVM_TEST(assist_int, "svm.optional.decode_int", "EXITINFO1 of INTn has the vector", "15.8.2",
         .needs = "decodeassists") {
    L2 guest;
    guest.intercept(Intercept::swint);
    start_blob(guest, l2_assist_int);
    guest.run_to(ExitCode::swint, "INTn is intercepted");
    expect_equal(guest.control().exit_info_1, 0x9dU, "EXITINFO1");
}
SVM_TEST(assist_fetched, "svm.optional.decode_fetched_bytes",
         "An intercepted page fault of data has the instruction's bytes", "15.8.4",
         .needs = "decodeassists") {
    L2 guest;
    guest.intercept_exception(14);
    start_blob(guest, l2_assist_read, 0x7fff'0000'0000);
    guest.run_to(exception_exit(14), "the page fault is intercepted");
    const auto& area = guest.control();
    expect(area.fetched_bytes >= 3 && area.fetched_bytes <= 15, "the number of bytes is between 3 and 15");
    for (unsigned i = 0; i < 3; ++i)
        expect_equal(area.guest_instruction[i], static_cast<std::uint8_t>(l2_assist_read[i]),
                     Text{"byte ", i});
}

// LBR virtualization (15.23).

L2_CODE(l2_lbr_branch, 64, "jmp 1f; nop; 1: vmmcall");
L2_CODE(l2_lbr_read, 64, "rdmsr; vmmcall");
L2_CODE(l2_lbr_write, 64, "wrmsr; vmmcall");
namespace {
std::uint64_t read_result(L2& guest) {
    return guest.registers.rdx << 32 | (guest.save().rax & 0xffff'ffff);
}
void lbr_field(std::uint32_t number, std::uint64_t SaveArea::*field, std::uint64_t value) {
    const auto mine = guest::rdmsr(number);
    L2 guest;
    guest.control().virt_ext |= 1;
    guest.save().*field = value;
    start_blob(guest, l2_lbr_read);
    guest.registers.rcx = number;
    guest.run_to(ExitCode::vmmcall, "RDMSR is not intercepted");
    expect_equal(read_result(guest), value, "the MSR as L2 reads it");
    expect_equal(guest.save().*field, value, "the field of the VMCB after the exit");
    expect_equal(guest::rdmsr(number), mine, "the MSR of L1 after the exit");
}
} // namespace
SVM_TEST(lbr_from, "svm.optional.lbr_from_in", "LASTBRANCHFROMIP goes into L2", "15.23.2", .needs = "lbrv") {
    lbr_field(msr::last_branch_from, &SaveArea::br_from, 0x1234'5678);
}
SVM_TEST(lbr_to, "svm.optional.lbr_to_in", "LASTBRANCHTOIP goes into L2", "15.23.2", .needs = "lbrv") {
    lbr_field(msr::last_branch_to, &SaveArea::br_to, 0x2345'6789);
}
SVM_TEST(lbr_int_from, "svm.optional.lbr_exception_from_in", "LASTINTFROMIP goes into L2", "15.23.2",
         .needs = "lbrv") {
    lbr_field(0x1dd, &SaveArea::last_excp_from, 0x3456'789a);
}
SVM_TEST(lbr_int_to, "svm.optional.lbr_exception_to_in", "LASTINTTOIP goes into L2", "15.23.2",
         .needs = "lbrv") {
    lbr_field(0x1de, &SaveArea::last_excp_to, 0x4567'89ab);
}
SVM_TEST(lbr_dbgctl_write, "svm.optional.lbr_dbgctl_out",
         "DEBUGCTL that L2 writes is in the VMCB after the exit, and not L1's", "15.23.2", .needs = "lbrv") {
    L2 guest;
    guest.control().virt_ext |= 1;
    start_blob(guest, l2_lbr_write);
    guest.registers.rcx = msr::debugctl;
    guest.save().rax = 1;
    guest.run_to(ExitCode::vmmcall, "WRMSR is not intercepted");
    expect_equal(guest.save().dbgctl & 1, 1U, "LBR in VMCB.DBGCTL");
    expect_equal(guest::rdmsr(msr::debugctl) & 1, 0U, "LBR in L1's DEBUGCTL");
}
SVM_TEST(lbr_recorded, "svm.optional.lbr_recorded",
         "With DBGCTL.LBR=1 in the VMCB L2's branch is in BR_FROM and BR_TO", "15.23.2", .needs = "lbrv") {
    L2 guest;
    guest.control().virt_ext |= 1;
    guest.save().dbgctl = 1;
    start_blob(guest, l2_lbr_branch);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().br_from, address_of(l2_lbr_branch), "VMCB.BR_FROM");
    expect_equal(guest.save().br_to, address_of(l2_lbr_branch) + 3, "VMCB.BR_TO");
}
SVM_TEST(lbr_two, "svm.optional.lbr_two_guests", "Two guests in turn have branch records of their own",
         "15.23.2", .needs = "lbrv") {
    L2 guests[2];
    for (unsigned i = 0; i < 2; ++i) {
        guests[i].control().virt_ext |= 1;
        guests[i].save().br_from = 0x1000U + i;
    }
    for (unsigned i = 0; i < 4; ++i) {
        auto& guest = guests[i % 2];
        start_blob(guest, l2_lbr_read);
        guest.registers.rcx = msr::last_branch_from;
        guest.run_to(ExitCode::vmmcall, "RDMSR is not intercepted");
        expect_equal(read_result(guest), 0x1000U + i % 2, "LASTBRANCHFROMIP as the guest reads it");
    }
}
SVM_TEST(lbr_not_offered, "svm.optional.lbr_bit_not_offered",
         "The LBR virtualization bit without the feature: L2 runs, and L1's DEBUGCTL stays", "15.23.1") {
    if ((svm_features() >> 1 & 1) != 0)
        return conform::not_applicable("LBR virtualization is offered");
    const auto mine = guest::rdmsr(msr::debugctl);
    L2 guest;
    guest.control().virt_ext |= 1;
    guest.save().dbgctl = 1;
    start_blob(guest, l2_lbr_branch);
    // A reserved bit that is set may also be refused (15.5.1 leaves it open).
    const auto code = guest.run();
    expect(code == ExitCode::vmmcall || code == ExitCode::invalid, "EXITCODE: VMMCALL or INVALID");
    expect_equal(guest::rdmsr(msr::debugctl), mine, "L1's DEBUGCTL");
}

// PAUSE filter (15.14.4).
namespace {
L2_CODE(l2_pause_loop, 64, "xorl %ebx, %ebx; 1: pause; incl %ebx; cmpl %edi, %ebx; jb 1b; vmmcall");
L2_CODE(l2_pause_slow, 64,
        "xorl %ebx, %ebx; 1: pause; movl $200000, %ecx; 2: decl %ecx; jnz 2b; incl %ebx; cmpl %edi, %ebx; jb "
        "1b; vmmcall");
// How many PAUSEs had gone by at the exit. The count starts anew where the host took the vCPU out in between:
// the fewest of five runs.
template<std::uint16_t Count>
void pause_filter() {
    std::uint64_t fewest = ~std::uint64_t{0};
    for (int i = 0; i < 5; ++i) {
        L2 guest;
        guest.intercept(Intercept::pause);
        guest.control().pause_filter_count = Count;
        start_blob(guest, l2_pause_loop, 1000000);
        if (!guest.run_to(ExitCode::pause, "PAUSE is intercepted in the end"))
            return;
        fewest = guest.registers.rbx < fewest ? guest.registers.rbx : fewest;
        expect_equal(guest.control().pause_filter_count, Count, "VMCB.PAUSE_FILTER_COUNT after the exit");
    }
    // The manual leaves open whether the PAUSE that finds 0 or the one that makes it 0 leaves.
    expect(fewest + 1 >= Count && fewest <= Count + 1U,
           Text{"PAUSEs before the exit: ", fewest, " of ", Count});
}
} // namespace
SVM_TEST(pause_filter_0, "svm.optional.pause_filter_0",
         "With a PAUSE filter count of 0 the first PAUSE leaves", "15.14.4", .needs = "pausefilter") {
    L2 guest;
    guest.intercept(Intercept::pause);
    start_blob(guest, l2_pause_loop, 1000);
    guest.run_to(ExitCode::pause, "PAUSE is intercepted");
    expect_equal(guest.registers.rbx, 0U, "PAUSEs that went by");
}
SVM_CASE(pause_filter_1, "svm.optional.pause_filter_1", "PAUSE leaves after the filter's count", "15.14.4",
         &pause_filter<1>, .needs = "pausefilter")
SVM_CASE(pause_filter_100, "svm.optional.pause_filter_100", "PAUSE leaves after the filter's count",
         "15.14.4", &pause_filter<100>, .needs = "pausefilter")
SVM_CASE(pause_filter_3000, "svm.optional.pause_filter_3000", "PAUSE leaves after the filter's count",
         "15.14.4", &pause_filter<3000>, .needs = "pausefilter")
SVM_TEST(pause_filter_clear, "svm.optional.pause_filter_not_intercepted",
         "A PAUSE filter count without the intercept lets every PAUSE go by", "15.14.4",
         .needs = "pausefilter") {
    L2 guest;
    guest.control().pause_filter_count = 10;
    start_blob(guest, l2_pause_loop, 1000);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 1000U, "PAUSEs that went by");
}
SVM_TEST(pause_threshold, "svm.optional.pause_threshold",
         "PAUSEs further apart than the threshold do not add up", "15.14.4",
         .needs = "pausefilter,pfthreshold") {
    L2 guest;
    guest.intercept(Intercept::pause);
    guest.control().pause_filter_count = 10;
    guest.control().pause_filter_threshold = 100;
    start_blob(guest, l2_pause_slow, 100);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 100U, "PAUSEs that went by");
}

// Virtual NMI (15.21.10).
L2_CODE(l2_vnmi_exit, 64, "nop; nop; vmmcall");
namespace {
void use_vnmi(L2& guest) {
    guest.intercept(Intercept::nmi);
    guest.control().int_ctl |= int_ctl::v_nmi_enable;
}
} // namespace
SVM_TEST(vnmi_taken, "svm.optional.vnmi_taken", "V_NMI is taken once, whatever IF is, and is clear then",
         "15.21.10", .needs = "vnmi") {
    L2 guest;
    use_vnmi(guest);
    guest.control().int_ctl |= int_ctl::v_nmi;
    start_blob(guest, l2_vnmi_exit);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().exceptions[2], 1U, "times that L2 took the NMI");
    expect_equal(guest.control().int_ctl & int_ctl::v_nmi, 0U, "V_NMI after the exit");
    expect_equal(guest.control().int_ctl & int_ctl::v_nmi_mask, 0U, "V_NMI_MASK after L2's IRET");
}
SVM_TEST(vnmi_masked, "svm.optional.vnmi_masked", "V_NMI_MASK holds V_NMI back, and both stay", "15.21.10",
         .needs = "vnmi") {
    L2 guest;
    use_vnmi(guest);
    guest.control().int_ctl |= int_ctl::v_nmi | int_ctl::v_nmi_mask;
    start_blob(guest, l2_vnmi_exit);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.context().exceptions[2], 0U, "times that L2 took the NMI");
    expect_equal(guest.control().int_ctl & (int_ctl::v_nmi | int_ctl::v_nmi_mask),
                 int_ctl::v_nmi | int_ctl::v_nmi_mask, "V_NMI and V_NMI_MASK after the exit");
}
SVM_TEST(vnmi_needs_intercept, "svm.optional.vnmi_without_nmi_intercept",
         "V_NMI_ENABLE without the NMI intercept is refused", "15.21.10", .needs = "vnmi") {
    L2 guest;
    use_vnmi(guest);
    guest.intercept(Intercept::nmi, false);
    start_blob(guest, l2_vnmi_exit);
    expect_equal(vmrun_refused(guest), ExitCode::invalid, "EXITCODE");
    stgi();
}
SVM_TEST(vnmi_not_offered, "svm.optional.vnmi_bits_not_offered",
         "V_NMI and its bits without the feature bring L2 no NMI", "15.21.10") {
    if ((svm_features() >> 25 & 1) != 0)
        return conform::not_applicable("virtual NMI is offered");
    L2 guest;
    use_vnmi(guest);
    guest.control().int_ctl |= int_ctl::v_nmi;
    start_blob(guest, l2_vnmi_exit);
    // Reserved bits that are set may also be refused.
    const auto code = guest.run();
    expect(code == ExitCode::vmmcall || code == ExitCode::invalid, "EXITCODE: VMMCALL or INVALID");
    expect_equal(guest.context().exceptions[2], 0U, "times that L2 took an NMI");
}

// AVIC (15.29): not offered to a hypervisor that runs under KVM; its bits must do nothing there.
namespace {
void avic_bits(std::uint32_t bits) {
    if ((svm_features() >> 13 & 1) != 0 || (svm_features() >> 18 & 1) != 0)
        return conform::not_applicable("AVIC is offered");
    L2 guest;
    guest.control().int_ctl |= bits;
    auto* const backing = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    guest.control().avic_backing_page = conform::physical(backing);
    guest.control().avic_logical_table = conform::physical(conform::allocate_pages(1));
    guest.control().avic_physical_table = conform::physical(conform::allocate_pages(1));
    // The task priority as L2 sees it must stay L1's own, not the backing page's.
    backing[0x80 / 4] = 0x70;
    std::uint64_t seen = ~std::uint64_t{0};
    auto code = [&] { asm volatile("movq %%cr8, %0" : "=r"(seen)); };
    guest.start(code);
    const auto exit = guest.run();
    expect(exit == ExitCode::invalid || guest.at_end(), "L2 runs to its end, or the bits are refused");
    if (exit != ExitCode::invalid)
        expect_equal(seen, 0U, "CR8 as L2 sees it");
    expect_equal(backing[0x80 / 4], 0x70U, "the page that would be the APIC's");
}
} // namespace
SVM_TEST(avic_not_offered, "svm.optional.avic_bit_not_offered",
         "AVIC_ENABLE without the feature does nothing", "15.29.3") {
    avic_bits(int_ctl::avic_enable);
}
SVM_TEST(x2avic_not_offered, "svm.optional.x2avic_bits_not_offered",
         "AVIC_ENABLE and x2AVIC_ENABLE without the features do nothing", "15.29.3") {
    avic_bits(int_ctl::avic_enable | int_ctl::x2avic_enable);
}

} // namespace nestbed::svm
