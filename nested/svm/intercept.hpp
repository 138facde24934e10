// Intercept bits of the VMCB's control area (APM volume 2, appendix B.1). Compiles freestanding.
#pragma once

#include <cstdint>

#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {

// The vectors from 00Ch on as one number: word * 32 + bit, word 0 at 00Ch, 1 at 010h, 2 at 014h.
enum class Intercept : unsigned {
    intr = 0,
    nmi,
    smi,
    init,
    vintr,
    cr0_sel_write,
    idtr_read,
    gdtr_read,
    ldtr_read,
    tr_read,
    idtr_write,
    gdtr_write,
    ldtr_write,
    tr_write,
    rdtsc,
    rdpmc,
    pushf,
    popf,
    cpuid,
    rsm,
    iret,
    swint,
    invd,
    pause,
    hlt,
    invlpg,
    invlpga,
    ioio_prot,
    msr_prot,
    task_switch,
    ferr_freeze,
    shutdown,
    vmrun = 32,
    vmmcall,
    vmload,
    vmsave,
    stgi,
    clgi,
    skinit,
    rdtscp,
    icebp,
    wbinvd,
    monitor,
    mwait,
    mwait_armed,
    xsetbv,
    rdpru,
    efer_write_trap,
    cr_write_trap, // of CR0; the next 15 are for CR1 to CR15
    invlpgb = 64,
    invlpgb_illegal,
    invpcid,
    mcommit,
    tlbsync,
    bus_lock,
    idle_hlt,
};

inline std::uint32_t& intercept_word(ControlArea& control, Intercept intercept) {
    switch (static_cast<unsigned>(intercept) / 32) {
    case 0:
        return control.intercept_misc1;
    case 1:
        return control.intercept_misc2;
    default:
        return control.intercept_misc3;
    }
}

inline void set_intercept(ControlArea& control, Intercept intercept, bool on = true) {
    const auto bit = 1U << static_cast<unsigned>(intercept) % 32;
    auto& word = intercept_word(control, intercept);
    word = on ? word | bit : word & ~bit;
}

} // namespace nestbed::svm
