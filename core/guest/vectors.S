# One stub a vector, 16 bytes apart, so that the host can write the IDTs without knowing more than one address.

    .text
    .code64
    .balign 16
    .globl vector_stubs
vector_stubs:
    vector = 0
    .rept 256
    .balign 16
    # Vectors that push an error code: 8, 10 to 14, 17, 21, 29, 30 (SDM volume 3, table 6-1; APM volume 2, 8.2).
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    .if vector == 2
    jmp nmi_entry
    .elseif vector == 6
    jmp invalid_opcode_entry
    .elseif vector < 32
    jmp exception_entry
    .else
    jmp interrupt_entry
    .endif
    vector = vector + 1
    .endr

# Interrupts save what a C++ function may change, no more: this path is what IPI costs are made of.
.macro save_caller_saved
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
.endm
.macro restore_caller_saved
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
.endm

# STI holds interrupts back for one instruction, or one could be taken before HLT, and be slept over. Not every
# emulated CPU keeps to that across a VM exit (VMRUN of QEMU's TCG does not load INTERRUPT_SHADOW; APM volume 2,
# 15.21.5), so an interrupt that is taken there returns behind the HLT.
    .globl enable_interrupts_and_halt
enable_interrupts_and_halt:
    sti
halt_after_sti:
    hlt
    ret

interrupt_entry:
    save_caller_saved
    cmpq $halt_after_sti, 88(%rsp)      # the interrupted RIP, above vector and error code
    jne 1f
    incq 88(%rsp)                       # HLT has one byte
1:
    movl 72(%rsp), %edi                 # the vector
    cld
    call *interrupt_handlers(,%rdi,8)
    xorl %eax, %eax                     # EOI (MSR 80BH)
    xorl %edx, %edx
    movl $0x80b, %ecx
    wrmsr
    restore_caller_saved
    addq $16, %rsp
    iretq

nmi_entry:
    save_caller_saved
    cld
    call handle_nmi
    restore_caller_saved
    addq $16, %rsp
    iretq

# The UD2 at the end of a ring 3 function is how it comes back; see user.S.
invalid_opcode_entry:
    cmpq $user_done, 16(%rsp)           # the interrupted RIP, above vector and error code
    je user_return

# Exceptions save everything, in the order of guest::ExceptionFrame. The handler may change what it finds there
# before it returns.
exception_entry:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    movq %rsp, %rbx                     # saved above, and kept by the handler
    cld
    andq $-16, %rsp
    call handle_exception
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

    .section .note.GNU-stack, "", @progbits
