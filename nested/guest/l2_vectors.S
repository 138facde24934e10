# The handlers of nested guests: all of them save everything and tell handle_l2_vector(); see core/guest/vectors.S.

    .text
    .code64
    .balign 16
    .globl l2_vector_stubs
l2_vector_stubs:
    vector = 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    .if vector == 6
    jmp l2_invalid_opcode
    .else
    jmp l2_entry
    .endif
    vector = vector + 1
    .endr

# The UD2 at the end of a ring 3 function; see core/guest/user.S.
l2_invalid_opcode:
    cmpq $user_done, 16(%rsp)
    je user_return

l2_entry:
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
    movq %rsp, %rbx
    cld
    andq $-16, %rsp
    call handle_l2_vector
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
