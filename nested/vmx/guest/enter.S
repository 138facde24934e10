# Into L2 and back. On a VM exit the processor is at vmx_exit_return with the stack pointer that was written to
# host RSP, and L2's general registers.

    .text
    .code64

    .set host_rsp_field, 0x6c14

# std::uint64_t vmx_enter(GeneralRegisters* registers, std::uint64_t launched)
# VMLAUNCH where `launched` is 0, else VMRESUME. Returns RFLAGS where the entry failed without an exit, and 0
# after an exit: bit 1 of RFLAGS is always set. Interrupts are off.
    .globl vmx_enter
vmx_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdi
    # 120: the host RSP of the last entry. VMWRITE is an exit to L0; most entries come from the same depth.
    cmpq %rsp, 120(%rdi)
    je 1f
    movl $host_rsp_field, %eax
    vmwrite %rsp, %rax
    movq %rsp, 120(%rdi)
1:
    testq %rsi, %rsi
    movq (%rdi), %rax
    movq 8(%rdi), %rbx
    movq 16(%rdi), %rcx
    movq 24(%rdi), %rdx
    movq 32(%rdi), %rsi
    movq 48(%rdi), %rbp
    movq 56(%rdi), %r8
    movq 64(%rdi), %r9
    movq 72(%rdi), %r10
    movq 80(%rdi), %r11
    movq 88(%rdi), %r12
    movq 96(%rdi), %r13
    movq 104(%rdi), %r14
    movq 112(%rdi), %r15
    movq 40(%rdi), %rdi
    jnz 2f
    .globl vmx_enter_vmlaunch
vmx_enter_vmlaunch:
    vmlaunch
    jmp 3f
    .globl vmx_enter_vmresume
2:
vmx_enter_vmresume:
    vmresume
3:
    pushfq
    popq %rax
    popq %rdi
    jmp 4f

    .globl vmx_exit_return
vmx_exit_return:
    pushq %rdi
    movq 8(%rsp), %rdi
    movq %rax, (%rdi)
    movq %rbx, 8(%rdi)
    movq %rcx, 16(%rdi)
    movq %rdx, 24(%rdi)
    movq %rsi, 32(%rdi)
    movq %rbp, 48(%rdi)
    movq %r8, 56(%rdi)
    movq %r9, 64(%rdi)
    movq %r10, 72(%rdi)
    movq %r11, 80(%rdi)
    movq %r12, 88(%rdi)
    movq %r13, 96(%rdi)
    movq %r14, 104(%rdi)
    movq %r15, 112(%rdi)
    popq 40(%rdi)
    addq $8, %rsp
    xorl %eax, %eax
4:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret

    .section .note.GNU-stack, "", @progbits
