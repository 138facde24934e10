# What Bochs starts instead of a BIOS: nothing that a kernel with a PVH entry needs is left for one to do. It
# lies 64 KiB below 4 GiB. bochs.cpp says what is at boot_page.

    .set boot_page, 0x100000
    .set here, 0xffff0000

    .section .rodata
    .balign 16
    .globl bochs_rom_start
bochs_rom_start:
    .code16
start:
    cli
    lgdtl %cs:gdt_pointer - bochs_rom_start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(flat - bochs_rom_start + here)

    .code32
flat:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs

    # Memory is write-back where nothing else is said; the kernel refuses PAT while MTRRs are off.
    movl $0x2ff, %ecx # IA32_MTRR_DEF_TYPE
    movl $0x806, %eax
    xorl %edx, %edx
    wrmsr

    # Bochs 2.7 reads the image to the beginning of its memory in one piece, but gives blocks of that memory to
    # guest addresses in the order of their first use. Once all are used from first to last, they fit.
    movl $boot_page, %ebx
    movl %ebx, %esi
1:  movl (%esi), %eax
    addl $0x1000, %esi
    cmpl 4(%ebx), %esi
    jb 1b

    # The entry serves once: memory outlives a reset, and a machine that is reset has ended.
    xorl %eax, %eax
    xchgl %eax, (%ebx)
    testl %eax, %eax
    jz 2f
    addl $8, %ebx # hvm_start_info
    jmp *%eax

2:  movl $(shutdown - bochs_rom_start + here), %esi
    movl $8, %ecx
    movl $0x8900, %edx # Bochs' own: the word turns the machine off
    cld
    rep outsb
3:  hlt
    jmp 3b

shutdown:
    .ascii "Shutdown"
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff # code, flat
    .quad 0x00cf93000000ffff # data, flat
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt - bochs_rom_start + here

    .globl bochs_rom_end
bochs_rom_end:
    .section .note.GNU-stack, "", @progbits
