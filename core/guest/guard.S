# Calls a function from which an exception leads back here; see guard.hpp.

#define MAILBOX_GUARD 328               /* wire::Mailbox::guard */

    .text
    .code64

# void guarded_call(void (*function)(void*), void* argument, Guard* guard)
    .globl guarded_call
guarded_call:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %gs:MAILBOX_GUARD             # the outer guard
    pushfq
    popq 8(%rdx)
    movq %rsp, (%rdx)
    movq %rdx, %gs:MAILBOX_GUARD
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    .globl guard_landing
guard_landing:
    popq %gs:MAILBOX_GUARD
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .section .note.GNU-stack, "", @progbits
