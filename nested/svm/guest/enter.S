# Into L2 and back.

    .text
    .code64

# L1's registers on the stack, with the addresses of host state and L2's; RAX is the VMCB, the rest L2's.
.macro to_l2_registers
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
.endm

# L2's registers to where they came from; host state's address is left on top of L1's.
.macro from_l2_registers
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
.endm

.macro to_l1_registers
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret
.endm

# void svm_enter(std::uint64_t vmcb, GeneralRegisters* registers, std::uint64_t host_state)
# VMLOAD, VMRUN, VMSAVE of L2, then VMLOAD of L1's own state, without which GS is L2's. GIF is 0.
    .globl svm_enter
svm_enter:
    to_l2_registers
    vmload %rax
    .globl svm_enter_vmrun
svm_enter_vmrun:
    vmrun %rax
    vmsave %rax
    from_l2_registers
    popq %rax
    vmload %rax
    to_l1_registers

# void svm_enter_lean(std::uint64_t vmcb, GeneralRegisters* registers)
# VMRUN alone: what VMLOAD loads is L1's in L2. GIF is 0.
    .globl svm_enter_lean
svm_enter_lean:
    to_l2_registers
    vmrun %rax
    from_l2_registers
    addq $8, %rsp
    to_l1_registers

    .section .note.GNU-stack, "", @progbits
