# How L2 calls L1, for payloads that know one vendor alone.

    .text
    .code64

# void l2_hypercall(std::uint64_t rax)
    .globl l2_hypercall
l2_hypercall:
    movq %rdi, %rax
    vmcall
    ret

    .section .note.GNU-stack, "", @progbits
