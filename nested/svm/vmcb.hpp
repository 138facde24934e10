// The virtual machine control block (APM volume 2, appendix B). Compiles freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestbed::svm {

// Appendix B.1, table B-1. Offsets are from the start of the VMCB.
struct ControlArea {
    std::uint32_t intercept_cr;         // 000h, bit 0-15 reads of CR0-15, bit 16-31 writes
    std::uint32_t intercept_dr;         // 004h, the same for DR0-15
    std::uint32_t intercept_exceptions; // 008h, by vector
    std::uint32_t intercept_misc1;      // 00Ch, see intercept.hpp
    std::uint32_t intercept_misc2;      // 010h
    std::uint32_t intercept_misc3;      // 014h
    std::uint8_t reserved_018[0x3c - 0x18];
    std::uint16_t pause_filter_threshold; // 03Ch
    std::uint16_t pause_filter_count;     // 03Eh
    std::uint64_t iopm_base_pa;           // 040h
    std::uint64_t msrpm_base_pa;          // 048h
    std::uint64_t tsc_offset;             // 050h
    std::uint32_t asid;                   // 058h
    std::uint8_t tlb_control;             // 05Ch
    std::uint8_t reserved_05d[3];
    std::uint32_t int_ctl;          // 060h, see int_ctl
    std::uint32_t int_vector;       // 064h, V_INTR_VECTOR in 7:0
    std::uint64_t interrupt_shadow; // 068h, bit 0; bit 1 is GUEST_INTERRUPT_MASK
    std::uint64_t exit_code;        // 070h
    std::uint64_t exit_info_1;      // 078h
    std::uint64_t exit_info_2;      // 080h
    std::uint64_t exit_int_info;    // 088h, see event.hpp
    std::uint64_t nested_ctl;       // 090h, bit 0 NP_ENABLE
    std::uint64_t avic_apic_bar;    // 098h
    std::uint64_t ghcb_pa;          // 0A0h
    std::uint64_t event_inj;        // 0A8h, see event.hpp
    std::uint64_t n_cr3;            // 0B0h
    std::uint64_t virt_ext;         // 0B8h, bit 0 LBR virtualization, bit 1 virtual VMSAVE and VMLOAD
    std::uint64_t clean;            // 0C0h, see clean
    std::uint64_t next_rip;         // 0C8h, nRIP
    std::uint8_t fetched_bytes;     // 0D0h, decode assist: how many follow
    std::uint8_t guest_instruction[15];
    std::uint64_t avic_backing_page; // 0E0h
    std::uint64_t reserved_0e8;
    std::uint64_t avic_logical_table;  // 0F0h
    std::uint64_t avic_physical_table; // 0F8h
    std::uint64_t reserved_100;
    std::uint64_t vmsa_pa; // 108h
    std::uint8_t reserved_110[0x400 - 0x110];
};
static_assert(offsetof(ControlArea, iopm_base_pa) == 0x40);
static_assert(offsetof(ControlArea, exit_code) == 0x70);
static_assert(offsetof(ControlArea, event_inj) == 0xa8);
static_assert(offsetof(ControlArea, next_rip) == 0xc8);
static_assert(offsetof(ControlArea, avic_logical_table) == 0xf0);
static_assert(sizeof(ControlArea) == 0x400);

struct Segment {
    std::uint16_t selector;
    std::uint16_t attributes; // bits 7:0 are descriptor bits 47:40, bits 11:8 descriptor bits 55:52
    std::uint32_t limit;
    std::uint64_t base;
};

// Appendix B.1, table B-2 (state save area of a guest without SEV-ES).
struct SaveArea {
    Segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; // 400h-49Fh
    std::uint8_t reserved_4a0[0x4cb - 0x4a0];
    std::uint8_t cpl; // 4CBh
    std::uint32_t reserved_4cc;
    std::uint64_t efer; // 4D0h
    std::uint8_t reserved_4d8[0x548 - 0x4d8];
    std::uint64_t cr4; // 548h
    std::uint64_t cr3;
    std::uint64_t cr0;
    std::uint64_t dr7;
    std::uint64_t dr6;
    std::uint64_t rflags;
    std::uint64_t rip; // 578h
    std::uint8_t reserved_580[0x5d8 - 0x580];
    std::uint64_t rsp; // 5D8h
    std::uint64_t s_cet;
    std::uint64_t ssp;
    std::uint64_t isst_addr;
    std::uint64_t rax; // 5F8h
    std::uint64_t star;
    std::uint64_t lstar;
    std::uint64_t cstar;
    std::uint64_t sfmask;
    std::uint64_t kernel_gs_base;
    std::uint64_t sysenter_cs;
    std::uint64_t sysenter_esp;
    std::uint64_t sysenter_eip;
    std::uint64_t cr2; // 640h
    std::uint8_t reserved_648[0x668 - 0x648];
    std::uint64_t g_pat; // 668h
    std::uint64_t dbgctl;
    std::uint64_t br_from;
    std::uint64_t br_to;
    std::uint64_t last_excp_from;
    std::uint64_t last_excp_to; // 690h
    std::uint8_t reserved_698[0x1000 - 0x698];
};
static_assert(offsetof(SaveArea, cpl) == 0x4cb - 0x400);
static_assert(offsetof(SaveArea, efer) == 0x4d0 - 0x400);
static_assert(offsetof(SaveArea, rip) == 0x578 - 0x400);
static_assert(offsetof(SaveArea, rsp) == 0x5d8 - 0x400);
static_assert(offsetof(SaveArea, rax) == 0x5f8 - 0x400);
static_assert(offsetof(SaveArea, cr2) == 0x640 - 0x400);
static_assert(offsetof(SaveArea, g_pat) == 0x668 - 0x400);

struct alignas(4096) Vmcb {
    ControlArea control;
    SaveArea save;
};
static_assert(sizeof(Vmcb) == 4096);

// Control area offset 060h (APM volume 2, 15.21 and appendix B).
namespace int_ctl {
inline constexpr std::uint32_t v_tpr = 0xff;
inline constexpr std::uint32_t v_irq = 1U << 8;
inline constexpr std::uint32_t vgif = 1U << 9;
inline constexpr std::uint32_t v_nmi = 1U << 11;
inline constexpr std::uint32_t v_nmi_mask = 1U << 12;
inline constexpr unsigned v_intr_prio_shift = 16;
inline constexpr std::uint32_t v_intr_prio = 0xfU << v_intr_prio_shift;
inline constexpr std::uint32_t v_ign_tpr = 1U << 20;
inline constexpr std::uint32_t v_intr_masking = 1U << 24;
inline constexpr std::uint32_t vgif_enable = 1U << 25;
inline constexpr std::uint32_t v_nmi_enable = 1U << 26;
inline constexpr std::uint32_t x2avic_enable = 1U << 30;
inline constexpr std::uint32_t avic_enable = 1U << 31;
} // namespace int_ctl

// Control area offset 05Ch (APM volume 2, 15.16.1, table 15-9).
namespace tlb_control {
inline constexpr std::uint8_t do_nothing = 0;
inline constexpr std::uint8_t flush_all = 1;
inline constexpr std::uint8_t flush_asid = 3;
inline constexpr std::uint8_t flush_asid_non_global = 7;
} // namespace tlb_control

// Control area offset 0C0h (APM volume 2, 15.15.3).
namespace clean {
inline constexpr std::uint64_t intercepts = 1U << 0; // and TSC offset, pause filter
inline constexpr std::uint64_t iopm = 1U << 1;       // and MSRPM
inline constexpr std::uint64_t asid = 1U << 2;
inline constexpr std::uint64_t tpr =
    1U << 3; // V_TPR, V_IRQ, V_INTR_PRIO, V_IGN_TPR, V_INTR_MASKING, V_INTR_VECTOR
inline constexpr std::uint64_t np = 1U << 4;
inline constexpr std::uint64_t crx = 1U << 5; // CR0, CR3, CR4, EFER
inline constexpr std::uint64_t drx = 1U << 6; // DR6, DR7
inline constexpr std::uint64_t dt = 1U << 7;  // GDT, IDT
inline constexpr std::uint64_t seg = 1U << 8; // CS, DS, SS, ES, CPL
inline constexpr std::uint64_t cr2 = 1U << 9;
inline constexpr std::uint64_t lbr = 1U << 10;
inline constexpr std::uint64_t avic = 1U << 11;
inline constexpr std::uint64_t cet = 1U << 12;
inline constexpr std::uint64_t all = 0xffff'ffff;
} // namespace clean

} // namespace nestbed::svm
