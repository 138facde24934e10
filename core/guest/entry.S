# How a vCPU gets from its first instruction to C++. Every vCPU ends in entry64: APs through the real-mode
# trampoline, the BSP directly, since the host starts it in 64-bit mode.
#
# No stack is used before the vCPU has found its own block, so that all APs can run this at once.

#define BOOT_BLOCK 0x9000

# wire::BootBlock
#define BOOT_CR3 0
#define BOOT_PERCPU_TABLE 8
#define BOOT_APIC_ID_LIMIT 24
#define BOOT_LOST_APIC_ID 28

# wire::percpu_*
#define PERCPU_GDTR 0x2100
#define PERCPU_IDTR 0x2110
#define PERCPU_STACK_TOP 0x7000

#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC_ID 0x802
#define MSR_EFER 0xc0000080
#define MSR_GS_BASE 0xc0000101

    .section .trampoline, "ax"
    .code16
    .globl trampoline
trampoline:                             # CS = 0x800, IP = 0 after a SIPI with vector 8
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl (trampoline_gdtr - trampoline + 0x8000)
    movl $0x11, %eax                    # CR0: PE, ET; caches on
    movl %eax, %cr0
    ljmpl $0x08, $(trampoline32 - trampoline + 0x8000)

    .code32
trampoline32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x20, %eax                    # CR4: PAE
    movl %eax, %cr4
    movl BOOT_BLOCK + BOOT_CR3, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    xorl %edx, %edx
    movl $0x900, %eax                   # LME, NXE
    wrmsr
    movl $0x80010033, %eax              # CR0: PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    ljmpl $0x18, $entry64

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08: 32-bit code
    .quad 0x00cf93000000ffff            # 0x10: data
    .quad 0x00af9b000000ffff            # 0x18: 64-bit code
trampoline_gdtr:
    .word . - trampoline_gdt - 1
    .long trampoline_gdt - trampoline + 0x8000

    .text
    .code64
    .globl entry64
entry64:
    movl $MSR_APIC_BASE, %ecx           # x2APIC mode: EN and EXTD (SDM volume 3, 11.12.1)
    rdmsr
    testl $0x400, %eax
    jnz 1f
    orl $0x800, %eax                    # xAPIC first where the APIC is off: a direct step is a #GP
    wrmsr
    orl $0x400, %eax
    wrmsr
1:  movl $MSR_X2APIC_ID, %ecx
    rdmsr
    cmpl BOOT_BLOCK + BOOT_APIC_ID_LIMIT, %eax
    jae lost
    movq BOOT_BLOCK + BOOT_PERCPU_TABLE, %rbx
    movq (%rbx,%rax,8), %rbx
    testq %rbx, %rbx
    jz lost

    lgdt PERCPU_GDTR(%rbx)
    lidt PERCPU_IDTR(%rbx)
    movl $0x10, %ecx                    # wire::kernel_data_selector
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %ss
    xorl %ecx, %ecx
    movw %cx, %fs
    movw %cx, %gs
    leaq PERCPU_STACK_TOP(%rbx), %rsp
    movl $0x28, %ecx                    # wire::task_selector
    ltr %cx
    pushq $0x08                         # wire::kernel_code_selector
    leaq 2f(%rip), %rcx
    pushq %rcx
    lretq
2:  movl %eax, %esi                     # cpu_main(mailbox, x2APIC id)
    movl $MSR_GS_BASE, %ecx
    movl %ebx, %eax
    movq %rbx, %rdx
    shrq $32, %rdx
    wrmsr
    movq %rbx, %rdi
    xorl %ebp, %ebp
    call cpu_main
3:  cli
    hlt
    jmp 3b

# An APIC id that the host did not plan: say so and stay out of the way.
lost:
    incl %eax
    movl %eax, BOOT_BLOCK + BOOT_LOST_APIC_ID
    movw $0x5e0, %dx                    # wire::doorbell_port
    outl %eax, %dx
4:  cli
    hlt
    jmp 4b

    .section .note.GNU-stack, "", @progbits
