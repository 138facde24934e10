# VMRUN out of 32-bit code; see legacy_host.hpp. All addresses are below 2 GiB and mapped to themselves.

#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

    .text
    .code64
    .globl svm_legacy_vmrun
svm_legacy_vmrun:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, svm_legacy_rsp
    movq %cr3, %rax
    movq %rax, svm_legacy_old_cr3
    movq %cr4, %rax
    movq %rax, svm_legacy_old_cr4
    ljmpl *svm_legacy_to_32

    .code32
legacy_32:                              # compatibility mode: paging off leaves long mode (APM volume 2, 14.7)
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $MSR_EFER, %ecx
    rdmsr
    andl $~EFER_LME, %eax
    wrmsr
    movl svm_legacy_cr4, %eax
    movl %eax, %cr4
    movl svm_legacy_cr3, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    jmp 1f
1:  movl svm_legacy_rsi, %esi
    movl svm_legacy_rdi, %edi
    movl svm_legacy_rbx, %ebx
    movl svm_legacy_vmcb, %eax
    vmrun %eax
    movl %cr0, %eax                     # back the way it came
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl svm_legacy_old_cr4, %eax
    movl %eax, %cr4
    movl svm_legacy_old_cr3, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $0x08, $legacy_64             # wire::kernel_code_selector

    .code64
legacy_64:
    movq svm_legacy_rsp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret

    .data
    .balign 8
svm_legacy_to_32:
    .long legacy_32
    .word 0x38                          # code32_selector
    .balign 8
    .globl svm_legacy_vmcb, svm_legacy_cr3, svm_legacy_cr4, svm_legacy_rsi, svm_legacy_rdi, svm_legacy_rbx
svm_legacy_vmcb:    .quad 0
svm_legacy_cr3:     .quad 0
svm_legacy_cr4:     .quad 0
svm_legacy_rsi:     .quad 0
svm_legacy_rdi:     .quad 0
svm_legacy_rbx:     .quad 0
svm_legacy_rsp:     .quad 0
svm_legacy_old_cr3: .quad 0
svm_legacy_old_cr4: .quad 0

    .section .note.GNU-stack, "", @progbits
