// Where things are in guest-physical memory, for both sides. Compiles freestanding: includes nothing of the
// host.
//
// The payload is linked to fixed addresses below 1 MiB + its own size. Everything else is placed by the host,
// which tells the guest through the boot block.
#pragma once

#include <cstdint>

namespace nestbed::wire {

// Of all of core/wire; a payload and a host that differ refuse each other.
inline constexpr std::uint32_t version = 2;

inline constexpr std::uint64_t page_bytes = 4096;

// The SIPI vector is the page number of the trampoline (SDM volume 3, 9.4.3 "MP Initialization Protocol
// Algorithm").
inline constexpr std::uint64_t trampoline_gpa = 0x8000;
inline constexpr std::uint8_t sipi_vector = trampoline_gpa / page_bytes;

inline constexpr std::uint64_t boot_block_gpa = 0x9000;
inline constexpr std::uint64_t payload_gpa = 0x10'0000;

// What a vCPU needs before it knows who it is. Written by the host, only read by the guest, except for
// lost_apic_id. The offsets are used by assembly.
struct BootBlock {
    std::uint64_t cr3;           // +0, below 4 GiB: the trampoline loads 32 bits
    std::uint64_t percpu_table;  // +8, GPA of one 64-bit block GPA per APIC id; 0 where no vCPU has that id
    std::uint64_t header;        // +16, GPA of wire::Header
    std::uint32_t apic_id_limit; // +24, number of entries in percpu_table
    std::uint32_t lost_apic_id;  // +28, set by a vCPU that finds no entry for itself, to its id + 1
};

// The block of one vCPU: `percpu_bytes` long, page-aligned, on the vCPU's own virtual node.
inline constexpr std::uint64_t percpu_bytes = 0x8000;
inline constexpr std::uint64_t percpu_mailbox = 0x0000;
inline constexpr std::uint64_t percpu_idt = 0x1000;  // 256 gates of 16 bytes
inline constexpr std::uint64_t percpu_gdt = 0x2000;  // see core/boot/descriptors.hpp
inline constexpr std::uint64_t percpu_tss = 0x2080;  // 104 bytes
inline constexpr std::uint64_t percpu_gdtr = 0x2100; // 10 bytes for LGDT
inline constexpr std::uint64_t percpu_idtr = 0x2110; // 10 bytes for LIDT
inline constexpr std::uint64_t percpu_double_fault_stack_top = 0x3800;
inline constexpr std::uint64_t percpu_nmi_stack_top = 0x4000;
inline constexpr std::uint64_t percpu_stack_top = 0x7000;
inline constexpr std::uint64_t percpu_user_stack_top = 0x8000;

// Segment selectors in every vCPU's GDT.
inline constexpr std::uint16_t kernel_code_selector = 0x08;
inline constexpr std::uint16_t kernel_data_selector = 0x10;
inline constexpr std::uint16_t user_data_selector = 0x1b;
inline constexpr std::uint16_t user_code_selector = 0x23;
inline constexpr std::uint16_t task_selector = 0x28;

// Ports. The doorbell is an ioeventfd: 32-bit OUTs to it never leave the kernel.
inline constexpr std::uint16_t doorbell_port = 0x5e0;
// Answered in user space: the cheapest exit that our run loop handles. An OUT is counted, an IN reads all
// ones.
inline constexpr std::uint16_t exit_port = 0x5e4;
// The same for loads and stores: a page that is no memory, between RAM and the APICs. A load reads all ones.
inline constexpr std::uint64_t exit_page_gpa = 0xd000'0000;
// An OUT makes the host read all state of the vCPU from KVM, clear it and write it back, as a migration
// would, before the next instruction. An IN reads 1 where KVM can do that, else 0.
inline constexpr std::uint16_t reload_port = 0x5e8;

// Interrupt vectors of the runtime; jobs take theirs from first_job_vector up.
inline constexpr std::uint8_t wake_vector = 0x20;
inline constexpr std::uint8_t first_job_vector = 0x30;
inline constexpr std::uint8_t spurious_vector = 0xff;

} // namespace nestbed::wire
