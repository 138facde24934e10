# Into L2 and back.

    .text
    .code64

# void svm_enter(std::uint64_t vmcb, GeneralRegisters* registers, std::uint64_t host_state)
# VMLOAD, VMRUN, VMSAVE of L2, then VMLOAD of L1's own state, without which GS is L2's. GIF is 0.
    .globl svm_enter
svm_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdx
    pushq %rsi
    movq %rdi, %rax
    movq (%rsi), %rbx
    movq 8(%rsi), %rcx
    movq 16(%rsi), %rdx
    movq 32(%rsi), %rdi
    movq 40(%rsi), %rbp
    movq 48(%rsi), %r8
    movq 56(%rsi), %r9
    movq 64(%rsi), %r10
    movq 72(%rsi), %r11
    movq 80(%rsi), %r12
    movq 88(%rsi), %r13
    movq 96(%rsi), %r14
    movq 104(%rsi), %r15
    movq 24(%rsi), %rsi
    vmload %rax
    .globl svm_enter_vmrun
svm_enter_vmrun:
    vmrun %rax
    vmsave %rax
    pushq %rsi
    movq 8(%rsp), %rsi
    movq %rbx, (%rsi)
    movq %rcx, 8(%rsi)
    movq %rdx, 16(%rsi)
    movq %rdi, 32(%rsi)
    movq %rbp, 40(%rsi)
    movq %r8, 48(%rsi)
    movq %r9, 56(%rsi)
    movq %r10, 64(%rsi)
    movq %r11, 72(%rsi)
    movq %r12, 80(%rsi)
    movq %r13, 88(%rsi)
    movq %r14, 96(%rsi)
    movq %r15, 104(%rsi)
    popq 24(%rsi)
    addq $8, %rsp
    popq %rax
    vmload %rax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret

# void l2_hypercall(std::uint64_t rax)
    .globl l2_hypercall
l2_hypercall:
    movq %rdi, %rax
    vmmcall
    ret

    .section .note.GNU-stack, "", @progbits
