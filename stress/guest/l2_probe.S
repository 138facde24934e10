# std::uint64_t l2_probe(Probe which, std::uint64_t rax, const ProbeRegisters* before, ProbeRegisters* after)

    .text
    .code64

    .globl l2_probe
l2_probe:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rcx                          # where the registers go afterwards
    leaq probes(%rip), %rax
    shlq $4, %rdi
    addq %rax, %rdi
    pushq %rdi                          # the instruction, jumped to by RET: no register is left for it
    movq %rsi, %rax
    movq (%rdx), %rbx
    movq 8(%rdx), %rcx
    movq 24(%rdx), %rsi
    movq 32(%rdx), %rdi
    movq 40(%rdx), %rbp
    movq 48(%rdx), %r8
    movq 56(%rdx), %r9
    movq 64(%rdx), %r10
    movq 72(%rdx), %r11
    movq 80(%rdx), %r12
    movq 88(%rdx), %r13
    movq 96(%rdx), %r14
    movq 104(%rdx), %r15
    movq 16(%rdx), %rdx
    ret

    .balign 16
probes:
    cpuid
    jmp probe_end
    .balign 16
    vmmcall
    jmp probe_end
    .balign 16
    outl %eax, %dx
    jmp probe_end
    .balign 16
    rdmsr
    jmp probe_end
    .balign 16
    movq (%rdx), %rax
    jmp probe_end
    .balign 16
    vmcall
    jmp probe_end

probe_end:
    pushq %rdx
    movq 8(%rsp), %rdx
    movq %rbx, (%rdx)
    movq %rcx, 8(%rdx)
    popq 16(%rdx)
    movq %rsi, 24(%rdx)
    movq %rdi, 32(%rdx)
    movq %rbp, 40(%rdx)
    movq %r8, 48(%rdx)
    movq %r9, 56(%rdx)
    movq %r10, 64(%rdx)
    movq %r11, 72(%rdx)
    movq %r12, 80(%rdx)
    movq %r13, 88(%rdx)
    movq %r14, 96(%rdx)
    movq %r15, 104(%rdx)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret

    .section .note.GNU-stack, "", @progbits
