// Why a guest left (APM volume 2, appendix C). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::svm {

// EXITCODE is 64 bits wide; VMEXIT_INVALID is -1 in all of them.
enum class ExitCode : std::uint64_t {
    read_cr0 = 0x00, // + n for CRn
    write_cr0 = 0x10,
    read_dr0 = 0x20,
    write_dr0 = 0x30,
    exception = 0x40, // + vector
    intr = 0x60,
    nmi = 0x61,
    smi = 0x62,
    init = 0x63,
    vintr = 0x64,
    cr0_sel_write = 0x65,
    idtr_read = 0x66,
    gdtr_read = 0x67,
    ldtr_read = 0x68,
    tr_read = 0x69,
    idtr_write = 0x6a,
    gdtr_write = 0x6b,
    ldtr_write = 0x6c,
    tr_write = 0x6d,
    rdtsc = 0x6e,
    rdpmc = 0x6f,
    pushf = 0x70,
    popf = 0x71,
    cpuid = 0x72,
    rsm = 0x73,
    iret = 0x74,
    swint = 0x75,
    invd = 0x76,
    pause = 0x77,
    hlt = 0x78,
    invlpg = 0x79,
    invlpga = 0x7a,
    ioio = 0x7b,
    msr = 0x7c,
    task_switch = 0x7d,
    ferr_freeze = 0x7e,
    shutdown = 0x7f,
    vmrun = 0x80,
    vmmcall = 0x81,
    vmload = 0x82,
    vmsave = 0x83,
    stgi = 0x84,
    clgi = 0x85,
    skinit = 0x86,
    rdtscp = 0x87,
    icebp = 0x88,
    wbinvd = 0x89,
    monitor = 0x8a,
    mwait = 0x8b,
    mwait_conditional = 0x8c,
    xsetbv = 0x8d,
    rdpru = 0x8e,
    efer_write_trap = 0x8f,
    write_cr0_trap = 0x90,
    invlpgb = 0xa0,
    invlpgb_illegal = 0xa1,
    invpcid = 0xa2,
    mcommit = 0xa3,
    tlbsync = 0xa4,
    bus_lock = 0xa5,
    idle_hlt = 0xa6,
    npf = 0x400,
    avic_incomplete_ipi = 0x401,
    avic_noaccel = 0x402,
    vmgexit = 0x403,
    invalid = ~std::uint64_t{0},
};

constexpr ExitCode exception_exit(std::uint8_t vector) {
    return static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::exception) + vector);
}
constexpr ExitCode read_cr_exit(unsigned n) {
    return static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::read_cr0) + n);
}
constexpr ExitCode write_cr_exit(unsigned n) {
    return static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::write_cr0) + n);
}
constexpr ExitCode read_dr_exit(unsigned n) {
    return static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::read_dr0) + n);
}
constexpr ExitCode write_dr_exit(unsigned n) {
    return static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::write_dr0) + n);
}

} // namespace nestbed::svm
