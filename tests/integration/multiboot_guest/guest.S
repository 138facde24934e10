# A multiboot image as test suites have them: 32-bit, on the serial port, with the CPUs that fw_cfg tells of.
#
# Prints "cpus N", starts the other CPUs by one INIT and one SIPI with vector 0 to all but itself, prints
# "online N", and then does what the first letter of its command line's second word says:
#   a digit   ends with this status      h  hangs        t  triple-faults
#   p         powers off                 m  ends with the first byte of its first module, a digit
#   b         enters the BIOS in real mode, as Linux does to reset

#define SERIAL 0x3f8
#define DEBUG_EXIT 0xf4
#define SHUTDOWN_PORT 0x8900
#define FW_CFG_SELECTOR 0x510
#define FW_CFG_CPUS 5

# SDM volume 3, "Advanced Programmable Interrupt Controller"; the vector of the SIPI is 0, and CS:IP 0:0.
#define LOCAL_APIC 0xfee00000
#define SPURIOUS 0xf0
#define ICR 0x300
#define INIT_ALL_BUT_SELF 0xc4500
#define SIPI_ALL_BUT_SELF 0xc4600

# Multiboot Specification 0.6.96, section 3.3
#define INFO_COMMAND_LINE 16
#define INFO_MODULE_COUNT 20
#define INFO_MODULES 24

    .section .multiboot, "a"
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    movl $stack_top, %esp
    movl %ebx, %ebp                     # multiboot information
    cmpl $0x2badb002, %eax
    jne bad

    movw $FW_CFG_SELECTOR, %dx
    movw $FW_CFG_CPUS, %ax
    outw %ax, %dx
    incw %dx
    inb %dx, %al
    movb %al, %cl
    inb %dx, %al
    movb %al, %ch
    movzwl %cx, %eax
    movl %eax, cpus
    movl $text_cpus, %esi
    call print
    movl cpus, %eax
    call print_number

    # Page 0 is the APs' first.
    movl $ap_code, %esi
    xorl %edi, %edi
    movl $(ap_code_end - ap_code), %ecx
    rep movsb

    movl $LOCAL_APIC, %edi
    movl $0x1ff, SPURIOUS(%edi)         # software enable
    movl $INIT_ALL_BUT_SELF, ICR(%edi)
    movl $SIPI_ALL_BUT_SELF, ICR(%edi)
1:  pause
    movl online, %eax
    cmpl cpus, %eax
    jne 1b
    movl $text_online, %esi
    call print
    movl online, %eax
    call print_number

    movl INFO_COMMAND_LINE(%ebp), %esi
2:  lodsb                               # past the image's name
    testb %al, %al
    jz bad
    cmpb $' ', %al
    jne 2b
    lodsb
    cmpb $'h', %al
    je hang
    cmpb $'t', %al
    je triple_fault
    cmpb $'p', %al
    je power_off
    cmpb $'b', %al
    je enter_bios
    cmpb $'m', %al
    jne status
    cmpl $1, INFO_MODULE_COUNT(%ebp)
    jne bad
    movl INFO_MODULES(%ebp), %esi
    movl (%esi), %esi
    lodsb
status:
    subb $'0', %al
    cmpb $9, %al
    ja bad
    movzbl %al, %eax
    outl %eax, $DEBUG_EXIT
hang:
    hlt
    jmp hang

bad:
    movl $text_bad, %esi
    call print
    movl $99, %eax
    outl %eax, $DEBUG_EXIT
    jmp hang

triple_fault:
    lidt no_idt
    ud2

enter_bios:                             # from page 0, whose code the APs have left
    movl $bios_code, %esi
    xorl %edi, %edi
    movl $(bios_code_end - bios_code), %ecx
    rep movsb
    lgdtl bios_gdtr - bios_code
    ljmpl $0x08, $0

power_off:
    movw $SHUTDOWN_PORT, %dx
    movl $text_shutdown, %esi
3:  lodsb
    testb %al, %al
    jz hang
    outb %al, %dx
    jmp 3b

print:                                  # the text at %esi
    movw $(SERIAL + 5), %dx
4:  inb %dx, %al
    testb $0x20, %al                    # the holding register is empty
    jz 4b
    lodsb
    testb %al, %al
    jz 5f
    movw $SERIAL, %dx
    outb %al, %dx
    jmp print
5:  ret

print_number:                           # %eax and the end of a line
    movl $(number_end - 2), %esi
    movb $'\n', (%esi)
    movl $10, %ecx
6:  xorl %edx, %edx
    divl %ecx
    addb $'0', %dl
    decl %esi
    movb %dl, (%esi)
    testl %eax, %eax
    jnz 6b
    jmp print

    .code16
ap_code:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl ap_gdtr - ap_code
    movl $0x11, %eax                    # CR0: PE, ET
    movl %eax, %cr0
    ljmpl $0x08, $ap_entry
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08: code
    .quad 0x00cf93000000ffff            # 0x10: data
ap_gdtr:
    .word ap_gdtr - ap_gdt - 1
    .long ap_gdt - ap_code
ap_code_end:

bios_code:                              # SDM volume 3, "Switching Back to Real-Address Mode"
    movl %cr0, %eax
    andl $~1, %eax
    movl %eax, %cr0
    ljmpw $0xf000, $0xfff0
    .balign 8
bios_gdt:
    .quad 0
    .quad 0x00009b000000ffff            # 0x08: code, 16-bit
bios_gdtr:
    .word bios_gdtr - bios_gdt - 1
    .long bios_gdt - bios_code
bios_code_end:

    .code32
ap_entry:
    movw $0x10, %ax
    movw %ax, %ds
    lock incl online
7:  hlt
    jmp 7b

    .section .rodata
text_cpus: .asciz "cpus "
text_online: .asciz "online "
text_bad: .asciz "bad\n"
text_shutdown: .asciz "Shutdown"

    .data
    .balign 4
online: .long 1
no_idt: .word 0
    .long 0

    .bss
    .balign 16
cpus: .skip 4
number: .skip 16
number_end:
    .balign 16
    .skip 4096
stack_top:

    .section .note.GNU-stack, "", @progbits
