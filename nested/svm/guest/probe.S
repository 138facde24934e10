# VMRUN alone; see probe.hpp.

    .bss
    .balign 8
probe_at:                               # tests that probe do so on one vCPU
    .skip 8
probe_flags:
    .skip 8

    .text
    .code64

# void svm_probe(Probe* probe, GeneralRegisters* registers)
    .globl svm_probe
svm_probe:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    pushq %rsi
    movq %rdi, probe_at(%rip)
    movq %rsp, 32(%rdi)
    cmpq $0, 96(%rdi)
    movq (%rdi), %rax
    je 1f
    vmload %rax
1:  pushq 24(%rdi)                      # RFLAGS for VMRUN
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
    popfq                               # where this sets TF, the trap is VMRUN's
    .globl svm_probe_vmrun
svm_probe_vmrun:
    vmrun %rax
    .globl svm_probe_next
svm_probe_next:
    pushfq
    popq probe_flags(%rip)
    pushq %rbx
    movq probe_at(%rip), %rbx
    movq %rax, 48(%rbx)
    leaq 8(%rsp), %rax
    movq %rax, 40(%rbx)
    movq 8(%rbx), %rax
    vmsave %rax
    movq 16(%rbx), %rax
    vmload %rax
    movq probe_flags(%rip), %rax
    movq %rax, 56(%rbx)
    xorl %eax, %eax
    movw %cs, %ax
    movq %rax, 64(%rbx)
    movw %ss, %ax
    movq %rax, 72(%rbx)
    movw %ds, %ax
    movq %rax, 80(%rbx)
    movw %es, %ax
    movq %rax, 88(%rbx)
    movq 32(%rbx), %rax                 # a wrong RSP is judged by the caller
    popq %rbx
    movq %rax, %rsp
    movq (%rsp), %rax
    movq %rbx, (%rax)
    movq %rcx, 8(%rax)
    movq %rdx, 16(%rax)
    movq %rsi, 24(%rax)
    movq %rdi, 32(%rax)
    movq %rbp, 40(%rax)
    movq %r8, 48(%rax)
    movq %r9, 56(%rax)
    movq %r10, 64(%rax)
    movq %r11, 72(%rax)
    movq %r12, 80(%rax)
    movq %r13, 88(%rax)
    movq %r14, 96(%rax)
    movq %r15, 104(%rax)
    popq %rsi
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .section .note.GNU-stack, "", @progbits
