# Ring 3 and back. On hosts without hardware virtualization ring 3 is where guest code runs at full speed.

#define MAILBOX_KERNEL_STACK 320        /* wire::Mailbox::kernel_stack */

    .text
    .code64

# void enter_user(void (*function)(void*), void* argument, std::uint64_t user_stack, std::uint64_t* tss_rsp0)
# Runs the function in ring 3 with interrupts on, until it returns.
    .globl enter_user
enter_user:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cli
    movq %rsp, %gs:MAILBOX_KERNEL_STACK
    movq %rsp, (%rcx)                   # interrupts in ring 3 continue below the present stack
    leaq -8(%rdx), %rdx
    leaq user_done(%rip), %rax
    movq %rax, (%rdx)                   # return address of the function
    pushq $0x1b                         # wire::user_data_selector
    pushq %rdx
    pushq $0x202                        # RFLAGS: IF
    pushq $0x23                         # wire::user_code_selector
    pushq %rdi
    movq %rsi, %rdi
    iretq

# Back by an exception: where ring 3 runs directly on a processor whose IDT is the host's, a software interrupt never
# reaches the guest, and a #UD does.
    .globl user_done
user_done:
    ud2

# On the stack of tss_rsp0, which is let go of.
    .globl user_return
user_return:
    movq %gs:MAILBOX_KERNEL_STACK, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    sti
    ret

    .section .note.GNU-stack, "", @progbits
