// Why a guest left (SDM volume 3, appendix C). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

// Basic exit reasons: bits 15:0 of the exit reason.
enum class ExitReason : std::uint16_t {
    exception_or_nmi = 0,
    external_interrupt = 1,
    triple_fault = 2,
    init_signal = 3,
    startup_ipi = 4,
    io_smi = 5,
    other_smi = 6,
    interrupt_window = 7,
    nmi_window = 8,
    task_switch = 9,
    cpuid = 10,
    getsec = 11,
    hlt = 12,
    invd = 13,
    invlpg = 14,
    rdpmc = 15,
    rdtsc = 16,
    rsm = 17,
    vmcall = 18,
    vmclear = 19,
    vmlaunch = 20,
    vmptrld = 21,
    vmptrst = 22,
    vmread = 23,
    vmresume = 24,
    vmwrite = 25,
    vmxoff = 26,
    vmxon = 27,
    control_register_access = 28,
    mov_dr = 29,
    io_instruction = 30,
    rdmsr = 31,
    wrmsr = 32,
    entry_failure_guest_state = 33,
    entry_failure_msr_loading = 34,
    mwait = 36,
    monitor_trap_flag = 37,
    monitor = 39,
    pause = 40,
    entry_failure_machine_check = 41,
    tpr_below_threshold = 43,
    apic_access = 44,
    virtualized_eoi = 45,
    gdtr_or_idtr_access = 46,
    ldtr_or_tr_access = 47,
    ept_violation = 48,
    ept_misconfiguration = 49,
    invept = 50,
    rdtscp = 51,
    preemption_timer_expired = 52,
    invvpid = 53,
    wbinvd_or_wbnoinvd = 54,
    xsetbv = 55,
    apic_write = 56,
    rdrand = 57,
    invpcid = 58,
    vmfunc = 59,
    encls = 60,
    rdseed = 61,
    page_modification_log_full = 62,
    xsaves = 63,
    xrstors = 64,
    pconfig = 65,
    spp_related_event = 66,
    umwait = 67,
    tpause = 68,
    loadiwkey = 69,
    enclv = 70,
    enqcmd_pasid_translation_failure = 72,
    enqcmds_pasid_translation_failure = 73,
    bus_lock = 74,
    instruction_timeout = 75,
    seamcall = 76,
    tdcall = 77,
    rdmsrlist = 78,
    wrmsrlist = 79,
    urdmsr = 80,
    uwrmsr = 81,
    rdmsr_immediate = 84,
    wrmsrns_immediate = 85,
};

struct ExitReasonName {
    ExitReason reason;
    const char* name;
};

inline constexpr ExitReasonName exit_reason_names[]{
    {ExitReason::exception_or_nmi, "Exception or non-maskable interrupt (NMI)"},
    {ExitReason::external_interrupt, "External interrupt"},
    {ExitReason::triple_fault, "Triple fault"},
    {ExitReason::init_signal, "INIT signal"},
    {ExitReason::startup_ipi, "Start-up IPI (SIPI)"},
    {ExitReason::io_smi, "I/O system-management interrupt (SMI)"},
    {ExitReason::other_smi, "Other SMI"},
    {ExitReason::interrupt_window, "Interrupt window"},
    {ExitReason::nmi_window, "NMI window"},
    {ExitReason::task_switch, "Task switch"},
    {ExitReason::cpuid, "CPUID"},
    {ExitReason::getsec, "GETSEC"},
    {ExitReason::hlt, "HLT"},
    {ExitReason::invd, "INVD"},
    {ExitReason::invlpg, "INVLPG"},
    {ExitReason::rdpmc, "RDPMC"},
    {ExitReason::rdtsc, "RDTSC"},
    {ExitReason::rsm, "RSM"},
    {ExitReason::vmcall, "VMCALL"},
    {ExitReason::vmclear, "VMCLEAR"},
    {ExitReason::vmlaunch, "VMLAUNCH"},
    {ExitReason::vmptrld, "VMPTRLD"},
    {ExitReason::vmptrst, "VMPTRST"},
    {ExitReason::vmread, "VMREAD"},
    {ExitReason::vmresume, "VMRESUME"},
    {ExitReason::vmwrite, "VMWRITE"},
    {ExitReason::vmxoff, "VMXOFF"},
    {ExitReason::vmxon, "VMXON"},
    {ExitReason::control_register_access, "Control-register accesses"},
    {ExitReason::mov_dr, "MOV DR"},
    {ExitReason::io_instruction, "I/O instruction"},
    {ExitReason::rdmsr, "RDMSR"},
    {ExitReason::wrmsr, "WRMSR"},
    {ExitReason::entry_failure_guest_state, "VM-entry failure due to invalid guest state"},
    {ExitReason::entry_failure_msr_loading, "VM-entry failure due to MSR loading"},
    {ExitReason::mwait, "MWAIT"},
    {ExitReason::monitor_trap_flag, "Monitor trap flag"},
    {ExitReason::monitor, "MONITOR"},
    {ExitReason::pause, "PAUSE"},
    {ExitReason::entry_failure_machine_check, "VM-entry failure due to machine-check event"},
    {ExitReason::tpr_below_threshold, "TPR below threshold"},
    {ExitReason::apic_access, "APIC access"},
    {ExitReason::virtualized_eoi, "Virtualized EOI"},
    {ExitReason::gdtr_or_idtr_access, "Access to GDTR or IDTR"},
    {ExitReason::ldtr_or_tr_access, "Access to LDTR or TR"},
    {ExitReason::ept_violation, "EPT violation"},
    {ExitReason::ept_misconfiguration, "EPT misconfiguration"},
    {ExitReason::invept, "INVEPT"},
    {ExitReason::rdtscp, "RDTSCP"},
    {ExitReason::preemption_timer_expired, "VMX-preemption timer expired"},
    {ExitReason::invvpid, "INVVPID"},
    {ExitReason::wbinvd_or_wbnoinvd, "WBINVD or WBNOINVD"},
    {ExitReason::xsetbv, "XSETBV"},
    {ExitReason::apic_write, "APIC write"},
    {ExitReason::rdrand, "RDRAND"},
    {ExitReason::invpcid, "INVPCID"},
    {ExitReason::vmfunc, "VMFUNC"},
    {ExitReason::encls, "ENCLS"},
    {ExitReason::rdseed, "RDSEED"},
    {ExitReason::page_modification_log_full, "Page-modification log full"},
    {ExitReason::xsaves, "XSAVES"},
    {ExitReason::xrstors, "XRSTORS"},
    {ExitReason::pconfig, "PCONFIG"},
    {ExitReason::spp_related_event, "SPP-related event"},
    {ExitReason::umwait, "UMWAIT"},
    {ExitReason::tpause, "TPAUSE"},
    {ExitReason::loadiwkey, "LOADIWKEY"},
    {ExitReason::enclv, "ENCLV"},
    {ExitReason::enqcmd_pasid_translation_failure, "ENQCMD PASID translation failure"},
    {ExitReason::enqcmds_pasid_translation_failure, "ENQCMDS PASID translation failure"},
    {ExitReason::bus_lock, "Bus lock"},
    {ExitReason::instruction_timeout, "Instruction timeout"},
    {ExitReason::seamcall, "SEAMCALL"},
    {ExitReason::tdcall, "TDCALL"},
    {ExitReason::rdmsrlist, "RDMSRLIST"},
    {ExitReason::wrmsrlist, "WRMSRLIST"},
    {ExitReason::urdmsr, "URDMSR"},
    {ExitReason::uwrmsr, "UWRMSR"},
    {ExitReason::rdmsr_immediate, "RDMSR with an immediate"},
    {ExitReason::wrmsrns_immediate, "WRMSRNS with an immediate"},
};

// Null where the manual has no such reason.
constexpr const char* name_of(ExitReason reason) {
    for (const auto& known : exit_reason_names)
        if (known.reason == reason)
            return known.name;
    return nullptr;
}

// The exit-reason field (SDM volume 3, "Basic VM-Exit Information").
struct ExitReasonField {
    ExitReason basic = ExitReason::exception_or_nmi;
    bool busy_shadow_stack =
        false;             // bit 25: set by an event delivered to a shadow stack that became busy too early
    bool bus_lock = false; // bit 26: a bus lock was seen, whatever else the exit is for
    bool enclave_mode = false;  // bit 27
    bool pending_mtf = false;   // bit 28: an MTF VM exit was pending
    bool from_vmx_root = false; // bit 29
    bool entry_failure = false; // bit 31: the VM entry failed, so that there was no guest to leave
};

constexpr ExitReasonField decode_exit_reason(std::uint32_t field) {
    const auto bit = [field](unsigned number) { return (field >> number & 1U) != 0; };
    return {static_cast<ExitReason>(field & 0xffff), bit(25), bit(26), bit(27), bit(28), bit(29), bit(31)};
}

} // namespace nestbed::vmx
